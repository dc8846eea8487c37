"""Training curves of the runs that a bundle was made of, where they lie beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.errors import UserError
from mbdcnn.system.tables import read_written

Curves: TypeAlias = Mapping[str, Mapping[str, Sequence[tuple[int | float, float]]]]
"""Title of a chart, name of a curve, its points (optimiser step, value)."""

STAGES = {"coarse": "coarse-SN", "classifier": "mask-CN", "enhanced": "enhanced-SN"}
CHARTS = {"train_loss": "Training loss", "jaccard": "Validation Jaccard", "mean_auc": "Validation mean AUC"}


def training_curves(bundle: Bundle) -> Curves:
    """Read the curves of the runs in `runs/` beside a bundle, if it was made of just these."""
    charts: dict[str, dict[str, list[tuple[int | float, float]]]] = {title: {} for title in CHARTS.values()}
    for stage, name in STAGES.items():
        run = _run(bundle, stage)
        if run is None:
            continue
        for title, points in _points(run.path / "metrics.csv").items():
            charts[title][name] = points
    return {title: curves for title, curves in charts.items() if curves}


def _points(table: Path) -> dict[str, list[tuple[int | float, float]]]:
    try:
        rows = read_written(table)
        curves: dict[str, list[tuple[int | float, float]]] = {
            title: [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
            for column, title in CHARTS.items()
        }
    except (LookupError, TypeError, ValueError):
        raise UserError(f"{table}: damaged; move the runs away from the bundle, or train again") from None
    return {title: points for title, points in curves.items() if points}


def _run(bundle: Bundle, stage: str) -> Run | None:
    try:
        run = Run.open(bundle.path.resolve().parent / "runs" / stage)
    except UserError:
        return None
    made_of = run.provenance.fingerprint == bundle.provenance.inputs.get(stage)
    return run if made_of and (run.path / "metrics.csv").is_file() else None
