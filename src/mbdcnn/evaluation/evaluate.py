"""Score a model, or what another method left in files, on a prepared split and write what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mbdcnn._version import __version__
from mbdcnn.artifacts import Bundle, PreparedData, Report
from mbdcnn.artifacts.builtin import find_bundle, open_model
from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.artifacts.manifest import Row
from mbdcnn.data.suspects import cautions_of_truth
from mbdcnn.errors import UserError
from mbdcnn.evaluation import target
from mbdcnn.evaluation.comparison import compare
from mbdcnn.evaluation.files import FileMethod
from mbdcnn.evaluation.image_score import ImageScore, Missed, choose_cases, missed_cases, write_per_image_csv
from mbdcnn.evaluation.options import DEFAULT, Options
from mbdcnn.evaluation.report.gallery import GalleryCase
from mbdcnn.evaluation.report.training_runs import training_curves
from mbdcnn.evaluation.report.write import write_report
from mbdcnn.evaluation.results import Method, ModelMethod, Result, score_rows
from mbdcnn.evaluation.robustness import stress_test
from mbdcnn.evaluation.scoring import summarise, to_json
from mbdcnn.evaluation.target import EvaluationTarget
from mbdcnn.inference.answer import answer, cases_of, percent
from mbdcnn.inference.protocol import resize_mask
from mbdcnn.system.progress import Progress, silent

IMAGE_SIDE = 640
"""Longer side of the images in the gallery."""
MISSED = 9
"""Missed cases of a class that are shown at most."""
SAMPLES = 1000
"""Bootstrap resamples for results that come without a configuration."""


@dataclass(frozen=True)
class _Work:
    """One report: what to score, on what, and how."""

    target: EvaluationTarget
    data: PreparedData
    split: str
    samples: int
    seed: int
    other: EvaluationTarget | None = None
    """What to compare with."""
    stress: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        looked_at = {name: self.target.facts.get(name) for name in ("protocol", "runtime")}
        return {"split": self.split, **looked_at, "bootstrap": self.samples, "stress": self.stress}

    @property
    def inputs(self) -> dict[str, str]:
        inputs = {"model": self.target.fingerprint, "data": self.data.provenance.fingerprint}
        return inputs | ({} if self.other is None else {"compared": self.other.fingerprint})

    @property
    def question(self) -> dict[str, Any]:
        """What the report answers, whatever became of the folders it was made from."""
        return {
            "scored": str(Path(self.target.name).resolve()),
            "data": str(self.data.path.resolve()),
            "compared": None if self.other is None else str(Path(self.other.name).resolve()),
            **{name: self.settings[name] for name in ("split", "protocol", "stress")},
        }


def evaluate(
    bundle: Bundle,
    data: PreparedData,
    split: str,
    out: Path,
    options: Options = DEFAULT,
    progress: Progress = silent,
) -> Report:
    """Score a model on a split, or give the report at `out` if it is of just this.

    Args:
        bundle: the model.
        data: images prepared with the model's settings.
        split: `train`, `validation` or `test`.
        out: folder of the report.
        options: how.
        progress: called with the number of images done.

    Raises:
        UserError: the data were prepared with other settings, hold images the model was trained on, or are not kept at
            all the scales that the protocol needs; or another report lies at `out`.
    """
    rows = _rows(data, split)
    scored = target.of_model(bundle, data, rows, options)
    other = None
    if options.compare_with is not None:
        place = find_bundle(options.compare_with)
        if target.is_bundle(place):
            other = target.of_model(open_model(place), data, rows, options)
        else:
            other = target.of_files(place, data, rows)
    samples = options.bootstrap_samples
    samples = bundle.config.evaluation.bootstrap_samples if samples is None else samples
    work = _Work(scored, data, split, samples, bundle.config.seed, other, options.stress)
    return _report(work, out, options.overwrite, progress)


def evaluate_predictions(
    predictions: Path,
    data: PreparedData,
    split: str,
    out: Path,
    *,
    allow_missing: bool = False,
    bootstrap_samples: int = SAMPLES,
    overwrite: bool = True,
    progress: Progress = silent,
) -> Report:
    """Score masks and probabilities of any method on a split, by the same rules.

    Args:
        predictions: a folder of masks, a CSV file of probabilities, or a folder with both.
        data: prepared images, with any settings.
        split: `train`, `validation` or `test`.
        out: folder of the report.
        allow_missing: leave out images without a prediction.
        bootstrap_samples: resamples behind each interval.
        overwrite: replace a report of something else at `out`.
        progress: called with the number of images done.

    Raises:
        UserError: predictions are missing or cannot be read, or another report lies at `out`.
    """
    scored = target.of_files(predictions, data, _rows(data, split), allow_missing)
    return _report(_Work(scored, data, split, bootstrap_samples, 0), out, overwrite, progress)


def _rows(data: PreparedData, split: str) -> list[Row]:
    return [row for row in data.split(split) if row.has_mask or row.label is not None]


def _report(work: _Work, out: Path, overwrite: bool, progress: Progress) -> Report:
    if Report.is_current(out, work.settings, work.inputs):
        return Report.open(out)
    if not overwrite:
        _check_same_question(out, work)
    with Report.writing(out, work.settings, work.inputs) as draft:
        draft.facts["question"] = work.question
        method, rows, classes = work.target.load(), work.target.rows, work.data.classes
        scores = score_rows(method, work.data, rows, progress)
        summary = summarise(scores, classes, work.samples, work.seed, method.thresholds)
        summary |= _more(work, method, scores, progress)
        facts = _facts(work, method)
        (draft.path / "metrics.json").write_text(to_json({**summary, "facts": facts}), encoding="utf-8")
        write_per_image_csv(draft.path / "per_image.csv", scores, classes)
        gallery = _gallery(method, work.data, rows, scores)
        curves = training_curves(work.target.bundle) if work.target.bundle else {}
        write_report(draft.path / "report.html", summary, gallery, f"Evaluation on {work.split}", facts, curves)
    return Report.open(out)


def _more(work: _Work, method: Method, scores: Sequence[ImageScore], progress: Progress) -> dict[str, Any]:
    """Compare and corrupt, where that is wanted."""

    def noted(note: str) -> Progress:
        return lambda done, total, _="": progress(done, total, note)

    more: dict[str, Any] = {}
    if work.other is not None:
        others = score_rows(work.other.load(), work.data, work.target.rows, noted("second model"))
        names = {"first_name": work.target.name, "second_name": work.other.name}
        more["comparison"] = names | compare(scores, others, work.data.classes, work.samples, work.seed)
    if work.stress:
        assert isinstance(method, ModelMethod)
        told = noted("stress test")
        more["stress"] = stress_test(method, work.data, work.target.rows, work.samples, work.seed, told)
    return more


def _check_same_question(out: Path, work: _Work) -> None:
    """Let a report be made anew, but not be lost to one of something else."""
    if not (out / Report.filename).is_file():
        return
    try:
        question = Report.open(out).provenance.facts.get("question", {})
    except UserError as error:
        raise UserError(f"{error}; or name another --out, or give --overwrite") from None
    changed = [name for name, value in work.question.items() if question.get(name) != value]
    if changed:
        raise UserError(
            f"{out}: the report of another evaluation lies there (its {' and '.join(changed)} differ); "
            "name another --out, or give --overwrite"
        )


def _facts(work: _Work, method: Method) -> dict[str, str]:
    facts = dict(work.target.facts)
    found = work.data.provenance.facts.get("suspects", {})
    cautions = [*filter(None, [facts.pop("caution", "")]), *cautions_of_truth(found, work.target.rows)]
    if isinstance(method, FileMethod) and method.grey:
        facts["masks"] = f"{len(method.grey)} of {len(method.masks)} had grey edges and were cut at half"
    facts |= {
        "data": str(work.data.path),
        "split": f"{work.split}, {len(work.target.rows)} images",
        "mbdcnn": __version__,
    }
    if work.other is not None:
        facts["compared with"] = work.other.name
        if "caution" in work.other.facts:
            facts["caution on what is compared with"] = work.other.facts["caution"]
    return facts | ({"caution": "; ".join(cautions)} if cautions else {})


def _gallery(
    method: Method, data: PreparedData, rows: Sequence[Row], scores: Sequence[ImageScore]
) -> list[GalleryCase]:
    groups = {
        _heading(missed): missed.positions[:MISSED] for missed in missed_cases(scores, data.classes, method.thresholds)
    }
    cases = []
    for group, positions in (groups | choose_cases(scores)).items():
        # Predicted once more, so that scoring holds no image in memory.
        chosen = [rows[position] for position in positions]
        cases += [
            _case(data, row, result, scores[position], group, method.thresholds)
            for row, result, position in zip(chosen, method.results(data, chosen), positions, strict=True)
        ]
    return cases


def _heading(missed: Missed) -> str:
    """Say what is missed, and how many of it are shown."""
    point, found = missed.point, len(missed.positions)
    where = (
        f"below the threshold of {point.name} ({percent(point.threshold, 1)})" if point else "decided something else"
    )
    shown = f"; the {MISSED} least probable" if found > MISSED else ""
    return f"Missed: {found} of {missed.cases} {cases_of(missed.class_name)}, {where}{shown}"


def _case(
    data: PreparedData, row: Row, result: Result, score: ImageScore, group: str, points: Sequence[OperatingPoint]
) -> GalleryCase:
    scale = min(1.0, IMAGE_SIDE / max(row.width, row.height))
    size = (max(1, round(row.width * scale)), max(1, round(row.height * scale)))
    stored = Image.fromarray(data.patches[row.views[0]])
    probabilities = dict(zip(data.classes, result.probabilities, strict=True)) if result.probabilities else None

    def shrunk(mask: np.ndarray[Any, np.dtype[np.bool_]] | None) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        return None if mask is None else resize_mask(mask, *size)

    return GalleryCase(
        id=row.id,
        image=np.asarray(stored.resize(size, Image.Resampling.BICUBIC)),
        truth=shrunk(data.truth(row) if row.has_mask else None),
        coarse=shrunk(result.coarse_mask),
        enhanced=shrunk(result.mask),
        activation_map=result.activation_map,
        activation_class=result.cam_class,
        jaccard=score.enhanced["jaccard"] if score.enhanced else None,
        label=None if row.label is None else data.classes[row.label],
        probabilities=probabilities,
        answer=answer(probabilities, points) if probabilities else None,
        thresholds=[(point.class_name, point.threshold) for point in points],
        group=group,
    )
