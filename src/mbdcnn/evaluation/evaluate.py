"""Run a model over a prepared split and write what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mbdcnn
from mbdcnn.artifacts import Bundle, PreparedData, Report
from mbdcnn.errors import UserError
from mbdcnn.evaluation.gallery import GalleryCase
from mbdcnn.evaluation.report import write_report
from mbdcnn.evaluation.scoring import ImageScore, choose_cases, summarise, to_json, write_per_image_csv
from mbdcnn.inference.predictor import Prediction, Predictor, batches
from mbdcnn.inference.protocol import ProtocolName, inputs_of_row
from mbdcnn.manifest import Row, hashed_id
from mbdcnn.metrics import mask_metrics
from mbdcnn.progress import Progress, silent

PICTURE_SIDE = 640
"""Longer side of the pictures in the gallery."""


def evaluate(
    bundle: Bundle,
    data: PreparedData,
    split: str,
    out: Path,
    *,
    protocol: ProtocolName = "paper",
    device: str = "auto",
    allow_training_images: bool = False,
    bootstrap_samples: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Score a model on a split, or give the report at `out` if it is of just this.

    Args:
        bundle: the model.
        data: pictures prepared with the model's settings.
        split: `train`, `validation` or `test`.
        out: folder of the report.
        protocol: `paper` for the authors' protocol, `fast` for one view of each network.
        device: where the networks run.
        allow_training_images: score even images that the model was trained on.
        bootstrap_samples: resamples behind each interval; as in the model's configuration if None.
        progress: told the images done.

    Raises:
        UserError: the data were prepared with other settings, hold images the model was trained on, or are not kept at
            all the scales that the protocol looks at.
    """
    rows = [row for row in data.split(split) if row.has_mask or row.label is not None]
    data.check_made_with(bundle.config, str(bundle.path))
    if not allow_training_images:
        _check_unseen(bundle, rows, data)
    if split == "train" and protocol == "paper":
        raise UserError(f"{data.path}: training images are not kept at all scales; score them with --protocol fast")
    samples = bundle.config.evaluation.bootstrap_samples if bootstrap_samples is None else bootstrap_samples
    settings = {"split": split, "protocol": protocol, "bootstrap": samples}
    inputs = {"model": bundle.provenance.fingerprint, "data": data.provenance.fingerprint}
    if Report.is_current(out, settings, inputs):
        return Report.open(out)
    with Report.writing(out, settings, inputs) as draft:
        predictor = Predictor.load(bundle.path, device=device)
        scores = _score(predictor, data, rows, protocol, progress)
        summary = summarise(scores, bundle.config.classes, samples, bundle.config.seed)
        facts = _facts(bundle, data, rows, split, protocol)
        (draft.path / "metrics.json").write_text(to_json({**summary, "facts": facts}))
        write_per_image_csv(draft.path / "per_image.csv", scores, bundle.config.classes)
        gallery = _gallery(predictor, data, rows, scores, protocol)
        write_report(draft.path / "report.html", summary, gallery, f"Evaluation on {split}", facts)
    return Report.open(out)


def _check_unseen(bundle: Bundle, rows: Sequence[Row], data: PreparedData) -> None:
    trained = bundle.ids("training")
    seen = [row.id for row in rows if hashed_id(row.id) in trained]
    if seen:
        raise UserError(
            f"{data.path}: {len(seen)} of {len(rows)} images, such as {seen[0]}, trained {bundle.path}; scores on them "
            "say nothing about new images (--allow-training-images to score them all the same)"
        )


def _score(
    predictor: Predictor, data: PreparedData, rows: Sequence[Row], protocol: ProtocolName, progress: Progress
) -> list[ImageScore]:
    scores: list[ImageScore] = []
    for batch in batches(rows):
        for row, prediction in zip(batch, _predict(predictor, data, batch, protocol), strict=True):
            scores.append(_image_score(data, row, prediction))
            progress(len(scores), len(rows))
    return scores


def _predict(
    predictor: Predictor, data: PreparedData, rows: Sequence[Row], protocol: ProtocolName
) -> Iterator[Prediction]:
    settings = predictor.bundle.config.data
    return predictor.predict_inputs([inputs_of_row(data, row, settings) for row in rows], protocol)


def _image_score(data: PreparedData, row: Row, prediction: Prediction) -> ImageScore:
    truth = data.truth(row) if row.has_mask else None
    return ImageScore(
        id=row.id,
        width=row.width,
        height=row.height,
        label=row.label,
        probabilities=tuple(prediction.probabilities.values()),
        enhanced=None if truth is None else mask_metrics(prediction.mask, truth),
        coarse=None if truth is None else mask_metrics(prediction.coarse_mask, truth),
        patient=row.patient,
    )


def _facts(
    bundle: Bundle, data: PreparedData, rows: Sequence[Row], split: str, protocol: ProtocolName
) -> dict[str, str]:
    selection = bundle.ids("selection")
    chosen = sum(hashed_id(row.id) in selection for row in rows)
    facts = {
        "model": str(bundle.path),
        "model fingerprint": bundle.provenance.fingerprint[:16],
        "data": str(data.path),
        "split": f"{split}, {len(rows)} images",
        "protocol": protocol,
        "activation maps": bundle.config.cam,
        "mbdcnn": mbdcnn.__version__,
    }
    cautions = []
    trained = bundle.ids("training")
    seen = sum(hashed_id(row.id) in trained for row in rows)
    if seen:
        cautions.append(f"{seen} of these images trained the model, so the scores say nothing about new images")
    if chosen:
        cautions.append(f"{chosen} of these images chose the model's weights, so the scores flatter")
    if bundle.imported:
        cautions.append(
            f"{' and '.join(bundle.imported)} came from elsewhere: the images they were trained on are not known, may "
            "be among these, and would flatter the scores"
        )
    if cautions:
        facts["caution"] = "; ".join(cautions)
    return facts


def _gallery(
    predictor: Predictor,
    data: PreparedData,
    rows: Sequence[Row],
    scores: Sequence[ImageScore],
    protocol: ProtocolName,
) -> list[GalleryCase]:
    cases = []
    for group, positions in choose_cases(scores).items():
        # Predicted once more, so that scoring holds no picture in memory.
        chosen = [rows[position] for position in positions]
        predictions = _predict(predictor, data, chosen, protocol)
        cases += [
            _case(data, row, prediction, scores[position], group)
            for row, prediction, position in zip(chosen, predictions, positions, strict=True)
        ]
    return cases


def _case(data: PreparedData, row: Row, prediction: Prediction, score: ImageScore, group: str) -> GalleryCase:
    scale = min(1.0, PICTURE_SIDE / max(row.width, row.height))
    size = (max(1, round(row.width * scale)), max(1, round(row.height * scale)))
    stored = Image.fromarray(data.patches[row.views[0]])

    def shrunk(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))

    return GalleryCase(
        id=row.id,
        picture=np.asarray(stored.resize(size, Image.Resampling.BICUBIC)),
        truth=shrunk(data.truth(row)),
        coarse=shrunk(prediction.coarse_mask),
        enhanced=shrunk(prediction.mask),
        activation_map=prediction.cam,
        jaccard=score.enhanced["jaccard"] if score.enhanced else None,
        label=None if row.label is None else data.classes[row.label],
        probabilities=prediction.probabilities,
        group=group,
    )
