"""The curves of a run as a picture."""

from __future__ import annotations

import csv
from pathlib import Path


def draw_curves(table: Path, picture: Path) -> None:
    """Plot every column of `metrics.csv` over the steps: losses above, scores below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    steps = [int(row["step"]) for row in rows]
    losses = [name for name in rows[0] if name.startswith("train_")]
    scores = [name for name in rows[0] if name not in {*losses, "step", "learning_rate"}]
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, names in zip(figure.subplots(2, sharex=True), (losses, scores), strict=True):
        for name in names:
            axes.plot(steps, [float(row[name]) for row in rows], label=name.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("step")
    figure.savefig(picture, dpi=120)
