from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.sr.codedict import codes

import mbdcnn
from dicom_files import BORN, NAME, PATIENT, header, lesion, photograph, saved, written
from mbdcnn.cli import main
from mbdcnn.errors import UserError
from mbdcnn.inference import dicom_results
from mbdcnn.inference.dicom_results import origin_of, write_results
from mbdcnn.inference.predict import predict_files
from mbdcnn.inference.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


PIXELS = lesion(64, 48)
LESION = np.zeros((48, 64), bool)
LESION[10:30, 20:50] = True
SOURCES = {
    "dermoscopy": photograph(PIXELS, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Zoë"),
    "secondary": photograph(PIXELS, kind=uid.SecondaryCaptureImageStorage, PatientOrientation=["L", "F"]),
    "compressed": photograph(
        PIXELS,
        "YBR_FULL_422",
        uid.JPEGBaseline8Bit,
        saved(PIXELS, "JPEG"),
        uid.VLPhotographicImageStorage,
        LossyImageCompression="01",
        LossyImageCompressionRatio=10,
        LossyImageCompressionMethod="ISO_10918_1",
    ),
}


@pytest.fixture(scope="module")
def results(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of every source; the folder also holds those."""
    folder = tmp_path_factory.mktemp("dicom")
    (folder / "in").mkdir()
    for name, content in SOURCES.items():
        (folder / "in" / f"{name}.dcm").write_bytes(content)
    entries = predict_files(predictor, sorted((folder / "in").iterdir()), folder / "out", dicom=True)
    assert not [entry["problem"] for entry in entries if "problem" in entry]
    return folder


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (apt-get install dicom3tools)")
@pytest.mark.parametrize("kind", ["segmentation", "report"])
@pytest.mark.parametrize("name", SOURCES)
def test_an_independent_validator_finds_no_error(results: Path, name: str, kind: str) -> None:
    file = results / "out" / f"{name}_{kind}.dcm"
    checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True, timeout=60)
    said = (checked.stderr + checked.stdout).splitlines()
    assert {"segmentation": "Segmentation", "report": "ComprehensiveSR"}[kind] in said
    assert not [line for line in said if line.startswith("Error")]
    # It does not know codes of our own, which the standard lets begin with 99.
    assert not [line for line in said if line.startswith("Warning") and dicom_results.SCHEME not in line]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (apt-get install dicom3tools)")
def test_the_validator_finds_errors(results: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(results / "out" / "dermoscopy_segmentation.dcm")
    del dataset.SegmentSequence
    dataset.save_as(tmp_path / "bad.dcm")
    checked = subprocess.run(["dciodvfy", tmp_path / "bad.dcm"], capture_output=True, text=True, timeout=60)
    assert "Error" in checked.stderr


@pytest.mark.parametrize("name", SOURCES)
def test_the_segmentation_is_the_mask_and_lies_in_the_study(results: Path, name: str) -> None:
    source = pydicom.dcmread(results / "in" / f"{name}.dcm")
    segmentation = hd.seg.segread(results / "out" / f"{name}_segmentation.dcm")
    with Image.open(results / "out" / f"{name}_mask.png") as mask:
        np.testing.assert_array_equal(segmentation.pixel_array.astype(bool), np.asarray(mask) > 0)
    for keyword in ("StudyInstanceUID", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate"):
        assert segmentation[keyword].value == source[keyword].value
    assert str(segmentation.PatientName) == str(source.PatientName)
    assert segmentation.SeriesInstanceUID != source.SeriesInstanceUID
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    segment = segmentation.get_segment_description(1)
    assert segment.segmented_property_type == codes.SCT.SkinLesion
    assert segment.segmented_property_category == codes.SCT.MorphologicallyAbnormalStructure
    assert segment.algorithm_identification.version == mbdcnn.__version__
    assert segment.algorithm_type == hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC


def test_the_report_holds_the_probabilities(results: Path) -> None:
    entries = {entry["name"]: entry for entry in json.loads((results / "out" / "predictions.json").read_text())}
    report = hd.sr.srread(results / "out" / "dermoscopy_report.dcm")
    source = pydicom.dcmread(results / "in" / "dermoscopy.dcm")
    segmentation = pydicom.dcmread(results / "out" / "dermoscopy_segmentation.dcm")
    (group,) = report.content.get_planar_roi_measurement_groups()
    measured = {item.name.meaning: item.value for item in group.get_measurements()}
    for name, value in entries["dermoscopy"]["probabilities"].items():
        assert float(measured[f"Probability of {name.replace('_', ' ')}"]) == pytest.approx(value, abs=1e-6)
    assert "Area of lesion as fraction of image" in measured
    (container,) = group
    comments = [item.TextValue for item in container.ContentSequence if item.ValueType == "TEXT"]
    assert comments[-1] == entries["dermoscopy"]["answer"]
    assert "are flagged; most probable: " in comments[-1]
    assert group.finding_type == codes.SCT.SkinLesion
    assert (report.StudyInstanceUID, report.PatientID) == (source.StudyInstanceUID, PATIENT)
    assert report.VerificationFlag == "UNVERIFIED"
    referenced = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert referenced == {source.SOPInstanceUID, segmentation.SOPInstanceUID}


def test_no_private_tags_and_new_uids_each_time(results: Path, predictor: Predictor, tmp_path: Path) -> None:
    file = results / "in" / "dermoscopy.dcm"
    write_results(predictor.predict(file), origin_of(file, predictor.bundle), tmp_path, "again")
    for kind in ("segmentation", "report"):
        first = pydicom.dcmread(results / "out" / f"dermoscopy_{kind}.dcm")
        again = pydicom.dcmread(tmp_path / f"again_{kind}.dcm")
        assert not [element.tag for element in first.iterall() if element.tag.is_private]
        assert first.SOPInstanceUID != again.SOPInstanceUID


def test_the_patient_is_named_in_dicom_files_alone(results: Path) -> None:
    secrets = [secret.encode() for secret in (NAME, NAME.split("^")[0], PATIENT, BORN)]
    files = list((results / "out").iterdir())
    assert len(files) == 2 + 6 * len(SOURCES)
    for file in files:
        content = file.read_bytes() if file.suffix != ".dcm" else b""
        assert not any(secret in content or secret.decode() in file.name for secret in secrets)


def test_an_image_without_lesion_has_an_empty_segment(results: Path, predictor: Predictor, tmp_path: Path) -> None:
    file = results / "in" / "secondary.dcm"
    prediction = predictor.predict(file)
    prediction.mask[:] = False
    write_results(prediction, origin_of(file, predictor.bundle), tmp_path, "none")
    assert not hd.seg.segread(tmp_path / "none_segmentation.dcm").pixel_array.any()
    assert (tmp_path / "none_report.dcm").is_file()


def test_decisions_and_ood_score_are_reported(results: Path, predictor: Predictor, tmp_path: Path) -> None:
    file = results / "in" / "dermoscopy.dcm"
    decisions = {"melanoma at 80% sensitivity": True, "seborrheic_keratosis at 95% sensitivity": False}
    prediction = replace(predictor.predict(file), decisions=decisions, ood_score=1.25)
    write_results(prediction, origin_of(file, predictor.bundle), tmp_path, "a")
    (group,) = hd.sr.srread(tmp_path / "a_report.dcm").content.get_planar_roi_measurement_groups()
    measured = {item.name.meaning: float(item.value) for item in group.get_measurements()}
    assert measured["Out-of-distribution score of image"] == 1.25
    said = {item.name.meaning: item.value for item in group.get_qualitative_evaluations()}
    assert said["Melanoma at 80% sensitivity"] == codes.SCT.Yes
    assert said["Seborrheic keratosis at 95% sensitivity"] == codes.SCT.No


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ({"coarse_mask": LESION}, "MANUAL", "; lesion outlined by a person"),
        ({"box": (5, 5, 50, 40)}, "SEMIAUTOMATIC", "; lesion outlined by the model and a person's marks"),
    ],
)
def test_an_outline_that_is_kept_is_not_called_the_model_s(
    results: Path, predictor: Predictor, tmp_path: Path, said: dict, kind: str, told: str
) -> None:
    file = results / "in" / "dermoscopy.dcm"
    prediction = predictor.predict(file, **said).keep_outline()
    write_results(prediction, origin_of(file, predictor.bundle), tmp_path, "kept")
    segmentation = hd.seg.segread(tmp_path / "kept_segmentation.dcm")
    assert segmentation.SegmentSequence[0].SegmentAlgorithmType == kind
    np.testing.assert_array_equal(segmentation.pixel_array.astype(bool), prediction.coarse_mask)
    (group,) = hd.sr.srread(tmp_path / "kept_report.dcm").content.get_planar_roi_measurement_groups()
    measured = {item.name.meaning: float(item.value) for item in group.get_measurements()}
    assert measured["Area of lesion as fraction of image"] == pytest.approx(prediction.coarse_mask.mean(), abs=1e-6)
    (container,) = group
    assert [item.TextValue for item in container.ContentSequence if item.ValueType == "TEXT"][-1].endswith(told)
    if shutil.which("dciodvfy") is not None:
        for name in ("segmentation", "report"):
            checked = subprocess.run(
                ["dciodvfy", tmp_path / f"kept_{name}.dcm"], capture_output=True, text=True, timeout=60
            )
            assert "Error" not in checked.stderr + checked.stdout


def test_files_that_have_no_study_are_told_and_not_predicted(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "b.dcm").write_bytes(photograph(PIXELS, StudyInstanceUID=""))
    (tmp_path / "c.dcm").write_bytes(photograph(PIXELS))
    entries = list(predict_files(predictor, sorted(tmp_path.iterdir()), tmp_path / "out", dicom=True))
    assert "a.png: not a DICOM file" in entries[0]["problem"]
    assert "b.dcm: no StudyInstanceUID" in entries[1]["problem"]
    assert "problem" not in entries[2]
    assert {file.name[0] for file in (tmp_path / "out").iterdir()} == {"c", "p"}


def test_what_a_study_may_leave_out_is_left_empty(predictor: Predictor, tmp_path: Path) -> None:
    dataset = header()
    for keyword in ("PatientName", "PatientID", "StudyID", "StudyDate", "AccessionNumber", "Manufacturer"):
        del dataset[keyword]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 48, 64, 3
    dataset.PhotometricInterpretation, dataset.BitsAllocated, dataset.BitsStored = "RGB", 8, 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.PlanarConfiguration = 7, 0, 0
    dataset.PixelData = PIXELS.tobytes()
    (tmp_path / "a.dcm").write_bytes(written(dataset, uid.ImplicitVRLittleEndian))
    (entry,) = predict_files(predictor, [tmp_path / "a.dcm"], tmp_path / "out", dicom=True)
    assert "problem" not in entry
    assert not pydicom.dcmread(tmp_path / "out" / "a_report.dcm").PatientName


def test_values_that_cannot_be_taken_over_are_not_quoted(predictor: Predictor, tmp_path: Path) -> None:
    """Two instance UIDs where one belongs."""
    file = tmp_path / "a.dcm"
    file.write_bytes(photograph(PIXELS, SOPInstanceUID=["1.2.4711", "1.2.4712"]))
    (entry,) = predict_files(predictor, [file], tmp_path / "out", dicom=True)
    assert "a.dcm: its header is damaged" in entry["problem"]
    assert "4711" not in entry["problem"]
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_the_command(bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.dcm").write_bytes(photograph(PIXELS))
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(tmp_path), "--model", str(bundle.path), "--out", str(tmp_path / "out"), "--dicom", "-q"])
    assert stop.value.code == 0
    assert {file.name for file in (tmp_path / "out").glob("*.dcm")} == {"scan_segmentation.dcm", "scan_report.dcm"}
    assert PATIENT not in "".join(capsys.readouterr())


def test_without_the_extra_one_line_says_what_to_install(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mbdcnn.inference.dicom_results", None)
    with pytest.raises(UserError, match=r"pip install .*highdicom"):
        predict_files(predictor, [], tmp_path / "out", dicom=True)
