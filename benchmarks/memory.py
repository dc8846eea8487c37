"""Memory and time of `predict` and `prepare` as pictures become more and larger."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

from harness import Process, Row, measure_process, print_table, random_bundle, write_picture

from mbdcnn.config import load_config
from mbdcnn.data.synthetic import generate

PEAK = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""
PREDICT = """
import sys
from pathlib import Path
from mbdcnn.inference.predict import predict_files
from mbdcnn.inference.predictor import Predictor
folder, count, model, runtime, out = sys.argv[1:]
files = sorted(Path(folder).iterdir())[: int(count)]
predict_files(Predictor.load(model, runtime=runtime), files, Path(out))
"""
PREPARE = """
import sys
from pathlib import Path
from mbdcnn.config import load_config
from mbdcnn.data.prepare import prepare
prepare(Path(sys.argv[1]), Path(sys.argv[2]), load_config("compact"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000], help="pictures, fewest first")
    parser.add_argument("--runtime", default="onnx")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MBDCNN_CACHE"] = str(folder / "cache")
        model = random_bundle(load_config("compact"), folder / "model").path
        pictures, large = folder / "pictures", folder / "large"
        for place in (pictures, large):
            place.mkdir()
        write_picture(large / "large.jpg", 6748, 4499)
        source = write_picture(folder / "picture.jpg")
        for number in range(max(options.counts)):
            shutil.copy(source, pictures / f"{number:06}.jpg")

        def predict(place: Path, count: int) -> Process:
            arguments = (str(place), str(count), str(model), options.runtime, str(folder / "out"))
            return measure_process("-c", PREDICT + PEAK, *arguments)

        predict(pictures, 1)  # exports graphs
        rows = growing({count: predict(pictures, count) for count in options.counts})
        print_table("predict, pictures of 1022 x 767, all files written", rows)
        one = predict(large, 1)
        print_table("predict, one picture of 6748 x 4499", [Row("all", one.seconds, one.seconds, note=peak(one))])
        print_table("prepare, pictures of about 640 x 480", growing(prepared(options.counts, folder)))


def prepared(counts: list[int], folder: Path) -> dict[int, Process]:
    """Prepare data sets of so many pictures."""
    runs = {}
    for count in counts:
        generate(folder / f"raw {count}", {"train": count - count // 5, "validation": count // 5}, (640, 480))
        arguments = (str(folder / f"raw {count}"), str(folder / f"data {count}"))
        runs[count] = measure_process("-c", PREPARE + PEAK, *arguments)
    return runs


def growing(runs: dict[int, Process]) -> list[Row]:
    """Tell what each further picture took, in CPU time because other work disturbs it less, against the first ones."""
    each = {
        (few, many): (runs[many].cpu_seconds - runs[few].cpu_seconds) / (many - few) for few, many in pairwise(runs)
    }
    first = next(iter(each.values()))
    return [
        Row(f"each from {few} to {many} pictures", seconds, first, note=peak(runs[many]), target=0.9)
        for (few, many), seconds in each.items()
    ]


def peak(run: Process) -> str:
    return f"{run.output.strip()} MB at most"


if __name__ == "__main__":
    main()
