"""The curves of a run as an image."""

from __future__ import annotations

from pathlib import Path

from mbdcnn.system.tables import read_written


def draw_curves(table: Path, image: Path) -> None:
    """Plot every column of `metrics.csv` over the steps: losses above, scores below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_written(table)
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
    figure.savefig(image, dpi=120)
