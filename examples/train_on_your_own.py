"""Train all three networks on your own images, listed in a table, and predict one.

    python examples/train_on_your_own.py images.csv out

The table needs the columns `image` and `split`, and `mask`, `label` or both; see docs/data.md. Given again, it resumes
where it was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mbdcnn import Predictor
from mbdcnn.config import Config, load_config
from mbdcnn.pipeline import run
from mbdcnn.system.progress import bar


def main(table: Path, out: Path, config: Config) -> None:
    """Go from the table to a model and its report."""
    results = run(table, out, config, bar)
    print("report:", results.report.path / "report.html")
    image = results.data.split("validation")[0].source
    prediction = Predictor.load(results.bundle.path).predict(image)
    print(image, prediction.probabilities, f"lesion: {prediction.area_fraction:.0%} of the image")


if __name__ == "__main__":
    # The compact networks; the classes are those of your table.
    main(Path(sys.argv[1]), Path(sys.argv[2]), load_config("compact", ["classes=[benign, melanoma]"]))
