"""The whole pipeline on a generated data set."""

from __future__ import annotations

from pathlib import Path

from mbdcnn.config import load_config
from mbdcnn.data.readers.folders import find_images
from mbdcnn.data.synthetic import generate
from mbdcnn.inference.predict import predict_files
from mbdcnn.inference.predictor import Predictor
from mbdcnn.pipeline import Bar, Results, run

IMAGES = {"train": 240, "validation": 60, "test": 120}
SHOWN = 4


def demo(out: Path, bar: Bar) -> tuple[Results, Path, Path]:
    """Generate images, run all stages with the small networks of `demo.yaml`, and predict some test images.

    Returns:
        The results, one predicted image and its overlay.
    """
    raw = out / "raw"
    if not raw.is_dir():
        # Renamed when complete: half a data set would be taken for a whole one the next time.
        unfinished = out / ".raw.partial"
        generate(unfinished, IMAGES)
        unfinished.rename(raw)
    config = load_config("demo")
    results = run(raw, out, config, bar)
    images = list(find_images([str(raw / "ISIC-2017_Test_v2_Data")]).images)[:SHOWN]
    with bar("predict") as progress:
        entries = predict_files(Predictor.load(results.bundle.path), images, out / "predictions", progress=progress)
    first = next(iter(entries))
    return results, Path(first["file"]), out / "predictions" / f"{first['name']}_overlay.jpg"
