"""Scoring the tiny model of the tests in every way there is."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn import pipeline
from mbdcnn.artifacts import Bundle, PreparedData, Report
from mbdcnn.artifacts.manifest import write_manifest
from mbdcnn.cli import main
from mbdcnn.data.prepare import prepare
from mbdcnn.errors import UserError
from mbdcnn.evaluation.activation import focus
from mbdcnn.evaluation.corruptions import CORRUPTIONS
from mbdcnn.evaluation.evaluate import evaluate, evaluate_predictions
from mbdcnn.evaluation.options import Options
from mbdcnn.evaluation.raw import fitting, open_or_prepare
from mbdcnn.evaluation.results import ModelMethod
from mbdcnn.evaluation.robustness import stress_test
from mbdcnn.inference.interpret import interpret
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.protocol import inputs_of_row
from mbdcnn.metrics.masks import mask_metrics
from mbdcnn.pipeline import run
from mbdcnn.system.progress import silent

FAST = Options(protocol="fast", device="cpu", bootstrap_samples=10)


@pytest.fixture(scope="module")
def full(data, bundle, tmp_path_factory):
    """A report with everything in it: the model compared with itself, and corrupted images."""
    out = tmp_path_factory.mktemp("full") / "report"
    return evaluate(bundle, data, "test", out, replace(FAST, compare_with=bundle.path, stress=True))


def table(report) -> list[dict[str, str]]:
    with (report.path / "per_image.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_it_scores_what_the_predictor_gives(data, bundle, tmp_path: Path, protocol) -> None:
    report = evaluate(bundle, data, "test", tmp_path / "report", replace(FAST, protocol=protocol))
    predictor, rows = Predictor.load(bundle.path, device="cpu"), data.split("test")
    inputs = [inputs_of_row(data, row, bundle.config.data) for row in rows]
    for row, scored, prediction in zip(rows, table(report), predictor.predict_inputs(inputs, protocol), strict=True):
        truth = data.truth(row)
        assert scored["id"] == row.id
        assert float(scored["enhanced_jaccard"]) == mask_metrics(prediction.mask, truth)["jaccard"]
        assert float(scored["coarse_jaccard"]) == mask_metrics(prediction.coarse_mask, truth)["jaccard"]
        for name, value in prediction.probabilities.items():
            assert float(scored[f"probability_{name}"]) == pytest.approx(value, abs=1e-6)
        assert float(scored["lesion_fraction"]) == pytest.approx(truth.mean())
        looked = focus(prediction.cam, truth)
        assert float(scored["cam_energy_inside"]) == pytest.approx(looked.cam_energy_inside)
        assert float(scored["cam_pointing_game"]) == looked.cam_pointing_game


def test_a_model_differs_in_nothing_from_itself(full) -> None:
    comparison = full.metrics["comparison"]
    assert comparison["first"] == comparison["second"]
    assert {"coarse_jaccard", "enhanced_jaccard", "mean_auc", "calibration_error"} <= comparison["difference"].keys()
    for estimate in comparison["difference"].values():
        assert estimate is None or set(estimate.values()) == {0.0}
    assert (comparison["images_better"], comparison["images_worse"]) == (0, 0)


def test_a_stress_test_covers_every_corruption(full) -> None:
    stress = full.metrics["stress"]
    assert stress["images"] == 4
    assert [corruption["name"] for corruption in stress["corruptions"]] == list(CORRUPTIONS)
    for corruption in stress["corruptions"]:
        assert len(corruption["levels"]) == 3
        for level in corruption["levels"]:
            change = level["jaccard"]["value"] - stress["clean"]["jaccard"]["value"]
            assert level["difference"]["jaccard"]["value"] == pytest.approx(change)
    assert [(each["name"], each["images"]) for each in stress["counterfactuals"]] == [("sticker", 4), ("background", 4)]
    for each in stress["counterfactuals"]:
        assert each["probability_change"]["melanoma"]["value"] > 0
    text = (full.path / "report.html").read_text()
    assert "What is not the lesion changes" in text
    assert all(heading in text for heading in ("Comparison", "Stress test", "gel bubbles", "Groups", "Training loss"))
    assert json.loads((full.path / "metrics.json").read_text()) == full.metrics


def test_spoilt_images_are_looked_at_once_whatever_the_protocol(full, data, bundle) -> None:
    rows = data.split("test")
    by_paper = ModelMethod(Predictor.load(bundle.path, device="cpu"), "paper")
    stress = stress_test(by_paper, data, rows, 10, bundle.config.seed, silent)
    for one, other in zip(stress["corruptions"], full.metrics["stress"]["corruptions"], strict=True):
        for level, expected in zip(one["levels"], other["levels"], strict=True):
            assert level["jaccard"]["value"] == expected["jaccard"]["value"]
    assert (
        stress["counterfactuals"][0]["decisions_changed"]["value"]
        == (full.metrics["stress"]["counterfactuals"][0]["decisions_changed"]["value"])
    )


def test_the_models_own_predictions_in_files_score_the_same(full, data, bundle, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    predictor, rows = Predictor.load(bundle.path, device="cpu"), data.split("test")
    lines = ["file,name," + ",".join(data.classes)]
    for row in rows:
        inputs = inputs_of_row(data, row, bundle.config.data)
        prediction = next(predictor.predict_inputs([inputs], "fast"))
        Image.fromarray(prediction.mask).save(folder / f"{row.id}_mask.png")
        lines.append(",".join(["x.jpg", row.id, *(repr(value) for value in prediction.probabilities.values())]))
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    report = evaluate_predictions(folder, data, "test", tmp_path / "report", bootstrap_samples=10)
    ours, theirs = full.metrics["segmentation"]["enhanced"], report.metrics["segmentation"]["enhanced"]
    assert theirs["jaccard"] == ours["jaccard"]
    assert theirs["boundary_distance"] == ours["boundary_distance"]
    assert report.metrics["classification"]["mean_auc"] == full.metrics["classification"]["mean_auc"]
    compared = evaluate(bundle, data, "test", tmp_path / "compared", replace(FAST, compare_with=folder))
    assert compared.metrics["comparison"]["difference"]["enhanced_jaccard"]["value"] == 0


def test_missed_cases_are_shown_and_counted(data, tmp_path: Path) -> None:
    rows = data.split("test")
    nevus = "\n".join(f"{row.id},0.8,0.15,0.05" for row in rows)
    (tmp_path / "all_nevus.csv").write_text(f"id,{','.join(data.classes)}\n{nevus}\n")
    report = evaluate_predictions(tmp_path / "all_nevus.csv", data, "test", tmp_path / "report", bootstrap_samples=10)
    page = (report.path / "report.html").read_text()
    melanomas = [row.id for row in rows if row.label == data.classes.index("melanoma")]
    assert melanomas
    assert f"Missed: {len(melanomas)} of {len(melanomas)} melanomas, decided something else</h3>" in page
    cases = page[page.index("<h2>Cases</h2>") :]
    assert all(f"<span>{name}</span>" in cases for name in melanomas)
    assert "nevus 80\N{NO-BREAK SPACE}%, melanoma 15\N{NO-BREAK SPACE}%, seborrheic keratosis 5" in cases


def test_a_report_of_something_else_is_not_lost(data, bundle, tmp_path: Path) -> None:
    out = tmp_path / "report"
    first = evaluate(bundle, data, "test", out, replace(FAST, overwrite=False))
    again = evaluate(bundle, data, "test", out, replace(FAST, overwrite=False))
    assert first.provenance == again.provenance
    # The same question, asked with more resamples, is answered anew.
    more = evaluate(bundle, data, "test", out, replace(FAST, bootstrap_samples=11, overwrite=False))
    assert more.metrics["bootstrap"]["samples"] == 11
    with pytest.raises(UserError, match=r"its split differ.*--out, or give --overwrite"):
        evaluate(bundle, data, "validation", out, replace(FAST, overwrite=False))
    facts = out / "evaluation.json"
    facts.write_text(facts.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(UserError, match=r"format 1.*--out, or give --overwrite"):
        evaluate(bundle, data, "test", out, replace(FAST, overwrite=False))
    assert evaluate(bundle, data, "validation", out, FAST).metrics["images"]["total"] == 8


def test_a_class_without_cases_is_left_out_of_the_mean(data, bundle, tmp_path: Path, monkeypatch) -> None:
    rows = [replace(row, label=row.label % 2) for row in data.split("test")]
    monkeypatch.setattr(PreparedData, "split", lambda self, name: rows)
    classification = evaluate(bundle, data, "test", tmp_path / "report", FAST).metrics["classification"]
    assert classification["classes"]["seborrheic_keratosis"]["auc"] is None
    assert classification["mean_auc"] == classification["classes"]["melanoma"]["auc"]
    assert "not applicable" in (tmp_path / "report" / "report.html").read_text()


def test_training_curves_are_shown_where_the_runs_are_the_bundles_own(data, bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "bundle")
    report = evaluate(Bundle.open(tmp_path / "bundle"), data, "test", tmp_path / "report", FAST)
    assert "Training loss" not in (report.path / "report.html").read_text()


@pytest.mark.parametrize(("large", "most"), [("mask", 2), ("mask_probability", 1)])
def test_full_size_maps_are_held_one_at_a_time(
    data, bundle, tmp_path: Path, monkeypatch, large: str, most: int
) -> None:
    held: list[int] = []
    alive = 0

    class Map(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def counted(*arguments):
        nonlocal alive
        alive += 1
        held.append(alive)
        prediction = interpret(*arguments)
        return replace(prediction, **{large: getattr(prediction, large).view(Map)})

    monkeypatch.setattr("mbdcnn.inference.predictor.interpret", counted)
    evaluate(bundle, data, "validation", tmp_path / "report", FAST)
    assert len(held) > 8
    # Of masks, the one being scored and the one being made.
    assert max(held) <= most


@pytest.fixture
def raw_with_a_twin(raw: Path, tmp_path: Path) -> Path:
    """Images of which one that trained lies among the test images too, under another name."""
    folder = Path(shutil.copytree(raw, tmp_path / "raw"))
    for part, given, ending in (("Data", ".jpg", ".png"), ("Part1_GroundTruth", *["_segmentation.png"] * 2)):
        source = folder / f"ISIC-2017_Training_{part}" / f"SYN_0000003{given}"
        target = folder / f"ISIC-2017_Test_v2_{part}" / f"SYN_2000001{given}"
        target.unlink()
        # Not even the file is the same.
        with Image.open(source) as image:
            image.save(target.with_name(f"SYN_2000001{ending}"))
    return folder


def test_an_image_that_trained_the_model_is_known_under_another_name(
    raw_with_a_twin: Path, bundle, experiment, tmp_path: Path
) -> None:
    data = prepare(raw_with_a_twin, tmp_path / "data", experiment.config)
    with pytest.raises(UserError) as error:
        evaluate(bundle, data, "test", tmp_path / "report", FAST)
    assert f"1 of 4 images, such as SYN_2000001, trained {bundle.path} (1 of them under another name)" in str(
        error.value
    )
    report = evaluate(bundle, data, "test", tmp_path / "report", replace(FAST, allow_training_images=True))
    assert "1 of these images trained the model" in report.metrics["facts"]["caution"]


def test_a_run_refuses_before_it_trains_what_lies_on_both_sides_of_a_split(
    raw_with_a_twin: Path, experiment, bar, tmp_path: Path, monkeypatch
) -> None:
    with pytest.raises(UserError) as error:
        run(raw_with_a_twin, tmp_path / "out", experiment.config, bar)
    assert "images with equal pixels, such as SYN_0000003 (train) = SYN_2000001 (test), lie in more" in str(error.value)
    assert {folder.name for folder in (tmp_path / "out").iterdir()} == {"data"}
    lines = ["image,mask,label,split,patient"]
    for split, name in (("train", "Training"), ("validation", "Validation"), ("test", "Test_v2")):
        for place, file in enumerate(sorted((raw_with_a_twin / f"ISIC-2017_{name}_Data").glob("SYN_???????.*"))):
            mask = f"ISIC-2017_{name}_Part1_GroundTruth/{file.stem}_segmentation.png"
            label = ("nevus", "melanoma", "seborrheic_keratosis")[place % 3]
            if file.stem != "SYN_2000001":
                lines.append(f"{file.relative_to(raw_with_a_twin)},{mask},{label},{split},P{place}")
    (raw_with_a_twin / "t.csv").write_text("\n".join(lines))
    with pytest.raises(UserError) as error:
        run(raw_with_a_twin / "t.csv", tmp_path / "other", experiment.config, bar)
    assert "8 patients or lesions, such as P0 (train 1, validation 1, test 1), lie in more" in str(error.value)
    # The flag that the message names lets it train.
    monkeypatch.setattr(pipeline, "train", lambda stage, *_, **__: pytest.exit(stage))
    with pytest.raises(pytest.exit.Exception, match="coarse"):
        run(raw_with_a_twin / "t.csv", tmp_path / "other", experiment.config, bar, allow_overlap=True)


def test_images_of_patients_whose_other_images_trained_are_told(data, bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(data.path, tmp_path / "data"))
    first = {split: data.split(split)[0].id for split in ("train", "test")}
    rows = [replace(row, patient="p") if row.id in first.values() else row for row in data.rows]
    write_manifest(folder / "manifest.csv", rows)
    report = evaluate(bundle, PreparedData.open(folder), "test", tmp_path / "report", FAST)
    assert "1 of these images are of patients or lesions whose other images" in report.metrics["facts"]["caution"]


def test_raw_images_are_prepared_by_the_models_settings_once_and_that_is_said(
    raw: Path, data, bundle, tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "cache"))
    prepared = open_or_prepare(raw, lambda: bundle)
    assert caplog.messages == [
        f"{raw}: raw images; prepared by the settings of {bundle.path} in {prepared.path}, to be used again"
    ]
    assert prepared.path.is_relative_to(tmp_path / "cache")
    assert raw.name in prepared.path.name
    scores = [evaluate(bundle, each, "test", tmp_path / "report", FAST).metrics for each in (prepared, data)]
    for each in scores:
        del each["facts"]
    assert scores[0] == scores[1]
    written = (prepared.path / PreparedData.filename).stat().st_mtime_ns
    assert open_or_prepare(raw, lambda: bundle) == prepared
    assert (prepared.path / PreparedData.filename).stat().st_mtime_ns == written


def test_prepared_images_are_opened_and_nothing_else(data, tmp_path: Path) -> None:
    def none() -> Bundle:
        raise AssertionError

    assert open_or_prepare(data.path, none) == data
    with pytest.raises(UserError, match="no such PreparedData folder"):
        open_or_prepare(tmp_path / "absent", none)


def test_data_of_other_settings_are_prepared_again_where_their_raw_images_are(
    raw: Path, data, bundle, tiny_config, tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "cache"))
    images = tmp_path / "raw"
    shutil.copytree(raw, images)
    other = prepare(images, tmp_path / "other", tiny_config("data.image_size=64", "data.scales=[64]"))
    command = ["evaluate", "--model", str(bundle.path), "--data", str(other.path), "--out", str(tmp_path / "report")]
    with pytest.raises(SystemExit) as end:
        main([*command, "--protocol", "paper", "-q"])
    assert end.value.code == 0
    assert f"prepared with other settings than those of {bundle.path}; prepared by the settings of" in caplog.text
    scored = Report.open(tmp_path / "report").metrics
    expected = evaluate(bundle, data, "test", tmp_path / "expected", Options(protocol="paper", device="cpu")).metrics
    assert {**scored, "facts": None} == {**expected, "facts": None}
    # What has changed since is no longer what the data hold.
    next((images / "ISIC-2017_Test_v2_Data").glob("*.jpg")).rename(images / "gone.jpg")
    next((images / "ISIC-2017_Test_v2_Part1_GroundTruth").glob("*.png")).unlink()
    assert fitting(other, bundle) == other
    shutil.rmtree(images)
    assert fitting(other, bundle) == other
    assert fitting(data, bundle) == data


def test_the_remedy_for_data_of_other_settings_can_be_pasted(raw: Path, bundle, tiny_config, tmp_path: Path) -> None:
    other = prepare(raw, tmp_path / "other", tiny_config("data.scales=[32]"))
    with pytest.raises(UserError, match=r"\(data\.scales \[32\], not \[32, 48\]\)") as refusal:
        evaluate(bundle, other, "test", tmp_path / "report", FAST)
    command = re.search(r"mbdcnn (prepare \S+ DATA --config \S+), DATA being", str(refusal.value))
    assert command is not None
    pasted = [str(tmp_path / "data") if word == "DATA" else word for word in shlex.split(command[1])]
    with pytest.raises(SystemExit) as end:
        main([*pasted, "-q"])
    assert end.value.code == 0
    assert evaluate(bundle, PreparedData.open(tmp_path / "data"), "test", tmp_path / "report", FAST).metrics
