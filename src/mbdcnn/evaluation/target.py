"""What is scored, and what must be said of it: a model or files of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mbdcnn.artifacts import Bundle, PreparedData
from mbdcnn.artifacts.manifest import Row, hashed_id
from mbdcnn.errors import UserError
from mbdcnn.evaluation.files import open_predictions
from mbdcnn.evaluation.options import DEFAULT, Options
from mbdcnn.evaluation.results import Method, ModelMethod
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.predictor import Predictor


@dataclass(frozen=True)
class EvaluationTarget:
    """A method before it is run."""

    name: str
    """Its path."""
    fingerprint: str
    rows: list[Row]
    """The images it has results for."""
    facts: dict[str, str]
    """For the reader of the report."""
    load: Callable[[], Method]
    bundle: Bundle | None = None


def of_model(bundle: Bundle, data: PreparedData, rows: list[Row], options: Options = DEFAULT) -> EvaluationTarget:
    """Take a model.

    Raises:
        UserError: the data were prepared with other settings, hold images the model was trained on, or are not kept at
            all the scales that the protocol needs.
    """
    data.check_made_with(bundle.config, str(bundle.path))
    protocol = options.protocol
    if not options.allow_training_images:
        _check_unseen(bundle, rows, data)
    if protocol == "paper" and any(row.split == "train" for row in rows):
        raise UserError(f"{data.path}: training images are not kept at all scales; score them with --protocol fast")
    facts = {
        "model": str(bundle.path),
        "model fingerprint": bundle.provenance.fingerprint[:16],
        "protocol": protocol,
        "runtime": options.runtime,
        "calibration": _calibration(bundle, protocol),
        "activation maps": bundle.config.cam,
    }
    cautions = _cautions(bundle, rows, data)
    if cautions:
        facts["caution"] = "; ".join(cautions)
    return EvaluationTarget(
        name=str(bundle.path),
        fingerprint=bundle.provenance.fingerprint,
        rows=rows,
        facts=facts,
        load=lambda: ModelMethod(Predictor.load(bundle.path, device=options.device, runtime=options.runtime), protocol),
        bundle=bundle,
    )


def of_files(path: Path, data: PreparedData, rows: list[Row], allow_missing: bool = False) -> EvaluationTarget:
    """Take masks and probabilities from files.

    Raises:
        UserError: there are none, or some are missing and that is not allowed.
    """
    method = open_predictions(path, data.classes, rows)
    present = method.of_rows(rows, allow_missing)
    found = [name for name, there in (("masks", method.masks), ("probabilities", method.probabilities)) if there]
    facts = {"predictions": f"{path}: {' and '.join(found)}"}
    if len(present) < len(rows):
        facts["caution"] = f"{len(rows) - len(present)} of {len(rows)} images have no prediction and are left out"
    if method.said:
        facts["caution"] = "; ".join(filter(None, [facts.get("caution"), method.said]))
    return EvaluationTarget(str(path), method.fingerprint(present), present, facts, lambda: method)


def is_bundle(path: Path) -> bool:
    """Say whether a path names a model rather than files of results."""
    return (path / Bundle.filename).is_file()


def _check_unseen(bundle: Bundle, rows: Sequence[Row], data: PreparedData) -> None:
    trained = bundle.seen("training")
    seen = trained.among(rows)
    if seen:
        renamed = sum(hashed_id(row.id) not in trained.ids for row in seen)
        named = f" ({renamed} of them under another name)" if renamed else ""
        raise UserError(
            f"{data.path}: {len(seen)} of {len(rows)} images, such as {seen[0].id}, trained {bundle.path}{named}; "
            "scores on them say nothing about new images (--allow-training-images to score them all the same)"
        )


def _calibration(bundle: Bundle, protocol: ProtocolName) -> str:
    calibration = bundle.calibration(protocol)
    if calibration is None:
        return "none for this protocol: the probabilities are the networks' own"
    return f"temperature {calibration.temperature:.2f}, fitted on {calibration.images} images ({calibration.source})"


def _cautions(bundle: Bundle, rows: Sequence[Row], data: PreparedData) -> list[str]:
    uses = ("training", "selection", "calibration")
    seen, chosen, calibrated = (len(bundle.seen(use).among(rows)) for use in uses)
    cautions = []
    related = _of_known_patients(bundle, rows, data)
    if related:
        cautions.append(
            f"{related} of these images are of patients or lesions whose other images trained the model, so the scores "
            "say less about new patients"
        )
    if seen:
        cautions.append(f"{seen} of these images trained the model, so the scores say nothing about new images")
    if chosen:
        cautions.append(f"{chosen} of these images chose the model's weights, so the scores are optimistically biased")
    if calibrated:
        cautions.append(
            f"{calibrated} of these images set the model's temperature and operating points, so calibration and the "
            "scores at these points are optimistically biased"
        )
    if bundle.imported:
        cautions.append(
            f"{' and '.join(bundle.imported)} came from elsewhere: the images they were trained on are not known, may "
            "be among these, and the scores optimistically biased"
        )
    return cautions


def _of_known_patients(bundle: Bundle, rows: Sequence[Row], data: PreparedData) -> int:
    """Count the images that did not train the model but are of patients whose other images in these data did."""
    trained = bundle.seen("training")
    patients = {row.patient for row in trained.among(data.rows) if row.patient}
    return sum(row.patient in patients for row in rows) - sum(row.patient in patients for row in trained.among(rows))
