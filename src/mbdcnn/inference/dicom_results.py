"""Results as DICOM objects in the study of the photograph: a segmentation of the lesion and a structured report.

Needs the extra `dicom`.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mbdcnn._version import __version__
from mbdcnn.artifacts import Bundle
from mbdcnn.data.images.dicom import quiet, read_header
from mbdcnn.errors import UserError
from mbdcnn.inference.prediction import Prediction
from mbdcnn.system.files import replacing

SCHEME = "99MBDCNN"
"""Classes and operating points are a model's own, so their codes are this program's."""

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_EMPTY_IF_ABSENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""What a study must have, if without a value."""
_NOTICE = "For research; not a medical device"
_ALGORITHM_TYPES = {
    "model": hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
    "prompted": hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
    "given": hd.seg.SegmentAlgorithmTypeValues.MANUAL,
}
"""By whose mask it is."""
_OUTLINED = {
    "model": "",
    "prompted": "; lesion outlined by the model and a person's marks",
    "given": "; lesion outlined by a person",
}


@dataclass(frozen=True)
class Origin:
    """The photograph that results belong to, and the model they come from."""

    file: Path
    header: Dataset
    bundle: Bundle

    @property
    def model(self) -> str:
        """The fingerprint of the model, as short as DICOM wants it."""
        return self.bundle.provenance.fingerprint[:16]


def origin_of(file: Path, bundle: Bundle) -> Origin:
    """Read what results need of a photograph's header.

    Raises:
        UserError: it is no DICOM file, or does not say what study it belongs to.
    """
    header = read_header(file, str(file))
    with quiet():
        for keyword in _NEEDED:
            if not header.get(keyword):
                raise UserError(f"{file}: no {keyword} in it, so results cannot be put into its study")
        for keyword in _EMPTY_IF_ABSENT:
            if keyword not in header:
                setattr(header, keyword, None)
    return Origin(file, header, bundle)


def write_results(prediction: Prediction, origin: Origin, folder: Path, name: str) -> None:
    """Write `NAME_segmentation.dcm` and `NAME_report.dcm`, with patient and study of the photograph.

    Raises:
        UserError: the photograph's header holds values that cannot be taken over.
    """
    try:
        with quiet():
            segmentation = _segmentation(prediction, origin)
            report = _report(prediction, origin, segmentation)
            contents = {"segmentation": _encoded(segmentation), "report": _encoded(report)}
    # What highdicom and pydicom say of wrong values quotes them.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise UserError(f"{origin.file}: its header is damaged, so results cannot be put into its study") from None
    for kind, content in contents.items():
        with replacing(folder / f"{name}_{kind}.dcm") as draft:
            draft.write_bytes(content)


def _encoded(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _segmentation(prediction: Prediction, origin: Origin) -> hd.seg.Segmentation:
    segmentation = hd.seg.Segmentation(
        source_images=[origin.header],
        pixel_array=prediction.mask.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_lesion(prediction, origin)],
        series_number=901,
        omit_empty_frames=False,
        content_label="SKIN_LESION",
        content_description=_NOTICE,
        series_description="Skin lesion outline (mbdcnn)",
        **_new_object(origin),
    )
    # Its rows and columns run as the photograph's do; required where it lies in no frame of reference.
    segmentation.PatientOrientation = origin.header.get("PatientOrientation")
    return segmentation


def _new_object(origin: Origin) -> dict[str, Any]:
    """Give what every object says of itself and of the program that made it."""
    return {
        "series_instance_uid": hd.UID(),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "mbdcnn",
        "manufacturer_model_name": "mbdcnn",
        "software_versions": __version__,
        "device_serial_number": origin.model,
        # UTF-8, which holds a patient's name whatever the photograph is written in.
        "specific_character_set": "ISO_IR 192",
    }


def _lesion(prediction: Prediction, origin: Origin) -> hd.seg.SegmentDescription:
    algorithm = hd.AlgorithmIdentificationSequence(
        name="mbdcnn",
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        parameters={"model": origin.model, "protocol": prediction.protocol},
    )
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Skin lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.SkinLesion,
        algorithm_type=_ALGORITHM_TYPES[prediction.mask_source],
        algorithm_identification=None if prediction.mask_source == "given" else algorithm,
        anatomic_regions=[codes.SCT.Skin],
    )


def _report(prediction: Prediction, origin: Origin, segmentation: Dataset) -> hd.sr.ComprehensiveSR:
    header = origin.header
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uid.generate_uid(entropy_srcs=["mbdcnn", origin.bundle.provenance.fingerprint]),
        name="mbdcnn",
        model_name=f"mbdcnn {__version__}",
        serial_number=origin.model,
    )
    observer = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.DermoscopicPhotography,
        imaging_measurements=[_measurements(prediction, origin, segmentation)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return hd.sr.ComprehensiveSR(
        evidence=[header, segmentation],
        content=content,
        series_number=902,
        is_complete=True,
        series_description=_NOTICE,
        coding_schemes=[CodingSchemeIdentificationItem(designator=SCHEME, name="mbdcnn's own codes")],
        **_new_object(origin),
    )


def _measurements(
    prediction: Prediction, origin: Origin, segmentation: Dataset
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    header = origin.header
    segment = hd.sr.ReferencedSegmentationFrame(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        frame_number=1,
        segment_number=1,
        source_image=hd.sr.SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID),
    )
    # Highdicom gives frame and segment, of which the standard allows one (PS3.3 table 10-3).
    del segment[0].ReferencedSOPSequence[0].ReferencedFrameNumber
    values = {f"probability of {name}": value for name, value in prediction.probabilities.items()}
    values["area of lesion as fraction of image"] = prediction.area_fraction
    if prediction.ood_score is not None:
        values["out-of-distribution score of image"] = prediction.ood_score
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), "Skin lesion"),
        referenced_segment=segment,
        finding_type=codes.SCT.SkinLesion,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Skin)],
        algorithm_id=hd.sr.AlgorithmIdentification("mbdcnn", __version__, [origin.model, prediction.protocol]),
        measurements=[
            hd.sr.Measurement(_own(name), round(value, 6), codes.UCUM.NoUnits) for name, value in values.items()
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(_own(name), codes.SCT.Yes if positive else codes.SCT.No)
            for name, positive in prediction.decisions.items()
        ],
    )
    said = prediction.answer + _OUTLINED[prediction.mask_source]
    comment = hd.sr.TextContentItem(codes.DCM.Comment, said, hd.sr.RelationshipTypeValues.CONTAINS)
    group[0].ContentSequence.append(comment)
    return group


def _own(name: str) -> Code:
    """Make a code of the name of a class or an operating point; DICOM takes 64 characters."""
    words = name.replace("_", " ")
    return Code("".join(letter if letter.isalnum() else "_" for letter in name), SCHEME, words[:64].capitalize())
