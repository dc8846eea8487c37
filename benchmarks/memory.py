"""Memory and time of `predict`, `prepare` and evaluation as images become more and larger."""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from harness import Process, Row, measure_process, print_table, random_bundle, write_image
from PIL import Image

from mbdcnn.config import load_config
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import KINDS, draw

PEAK = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""
PREDICT = """
import sys
from pathlib import Path
from mbdcnn.data.readers.folders import find_images
from mbdcnn.inference.predict import predict_files
from mbdcnn.inference.predictor import Predictor
source, count, model, runtime, out = sys.argv[1:]
files = list(find_images([source]).images)[: int(count)]
predict_files(Predictor.load(model, runtime=runtime), files, Path(out))
"""
PREPARE = """
import sys
from pathlib import Path
from mbdcnn.config import load_config
from mbdcnn.data.prepare import prepare
prepare(Path(sys.argv[1]), Path(sys.argv[2]), load_config("compact"))
"""

EVALUATE = """
import sys
from mbdcnn.artifacts import PreparedData
from mbdcnn.evaluation.results import ModelMethod, score_rows
from mbdcnn.inference.predictor import Predictor
from mbdcnn.system.progress import silent
model, runtime, data = sys.argv[1], sys.argv[2], PreparedData.open(sys.argv[3])
score_rows(ModelMethod(Predictor.load(model, runtime=runtime), "fast"), data, data.rows, silent)
"""
SCORED = 16
"""Images of each size that are scored."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000], help="images, fewest first")
    parser.add_argument("--runtime", default="onnx")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MBDCNN_CACHE"] = str(folder / "cache")
        model = (str(random_bundle(load_config("compact"), folder / "model").path), options.runtime)
        large, images = write_image(folder / "large.jpg", 6748, 4499), copies(folder / "many", max(options.counts))
        run(PREDICT, str(large), "1", *model, str(folder / "out"))  # exports graphs
        runs = {count: run(PREDICT, str(images), str(count), *model, str(folder / "out")) for count in options.counts}
        print_table("predict, images of 1022 x 767, all files written; at most 1200 MB", growing(runs, "images"))
        one = run(PREDICT, str(large), "1", *model, str(folder / "out"))
        row = Row("in all", one.seconds, one.seconds, note=peak(one))
        print_table("predict, one image of 6748 x 4499; at most 2000 MB", [row])
        print_table("prepare, images of 640 x 480", growing(prepared(options.counts, folder), "images"))
        title = f"evaluation, {SCORED} images of 1, 4 and 16 million pixels"
        print_table(title, growing(evaluated(model, folder), "million pixels"))


def run(program: str, *arguments: str) -> Process:
    """Run a program that ends by printing the most memory it held, in MB."""
    return measure_process("-c", program + PEAK, *arguments)


def copies(folder: Path, count: int) -> Path:
    """Write one photograph under many names."""
    folder.mkdir()
    source = write_image(folder / "000000.jpg")
    for number in range(1, count):
        shutil.copy(source, folder / f"{number:06}.jpg")
    return folder


def prepared(counts: list[int], folder: Path) -> dict[int, Process]:
    """Prepare data sets of so many images."""
    return {
        count: run(PREPARE, str(raw_data(folder / f"raw {count}", count, (640, 480))), str(folder / f"data {count}"))
        for count in counts
    }


def evaluated(model: tuple[str, str], folder: Path) -> dict[int, Process]:
    """Score images of growing size."""
    runs = {}
    for times in (1, 2, 4):
        raw = raw_data(folder / f"raw x {times}", SCORED, (1160 * times, 870 * times))
        data = prepare(raw, folder / f"data x {times}", load_config("compact"))
        runs[SCORED * times**2] = run(EVALUATE, *model, str(data.path))
    return runs


def raw_data(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write a table of images: the same three under many names, enlarged, because drawing takes far longer."""
    folder.mkdir()
    for index, kind in enumerate(KINDS):
        image, mask = draw(np.random.default_rng(index), kind, (640, 480))
        image.resize(size, Image.Resampling.BICUBIC).save(folder / f"{kind}.jpg", quality=92)
        mask.resize(size, Image.Resampling.NEAREST).save(folder / f"{kind}.png")
    with (folder / "images.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "mask", "split", "label"))
        for number in range(count):
            kind, split = KINDS[number % len(KINDS)], "train" if number % 5 else "validation"
            copied = shutil.copy(folder / f"{kind}.jpg", folder / f"{number:06}.jpg")
            writer.writerow((copied, folder / f"{kind}.png", split, kind))
    return folder / "images.csv"


def growing(runs: dict[int, Process], unit: str) -> list[Row]:
    """Tell what each further one took, in CPU time because other work disturbs it less, against the first ones."""
    each = {
        (few, many): (runs[many].cpu_seconds - runs[few].cpu_seconds) / (many - few) for few, many in pairwise(runs)
    }
    first = next(iter(each.values()))
    return [
        Row(f"each from {few} to {many} {unit}", seconds, first, note=peak(runs[many]), target=0.9)
        for (few, many), seconds in each.items()
    ]


def peak(run: Process) -> str:
    return f"{run.output.strip()} MB at most"


if __name__ == "__main__":
    main()
