"""Time of cold starts, from the command to its end. Baseline: a Python that imports torch."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import Process, Row, measure_process, print_table, random_bundle, write_image

from mbdcnn.config import load_config

REPEATS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = random_bundle(load_config("compact"), folder / "bundle")
        image = write_image(folder / "image.jpg")
        cache = {"MBDCNN_CACHE": str(folder / "cache")}

        def shortest(*arguments: str) -> Process:
            measure_process(*arguments, environment=cache)  # fills file caches and exports graphs
            runs = [measure_process(*arguments, environment=cache) for _ in range(REPEATS)]
            return min(runs, key=lambda run: run.seconds)

        bare, numpy = shortest("-c", "pass"), shortest("-c", "import numpy, PIL.Image")
        torch = shortest("-c", "import torch, numpy, PIL.Image")
        libraries = {"torch": torch, "onnx": shortest("-c", "import onnxruntime, PIL.Image")}
        libraries["openvino"] = shortest("-c", "import openvino, PIL.Image")
        work = {"mbdcnn --version": (["--version"], bare), "mbdcnn --help": (["--help"], bare)}
        work["mbdcnn info"] = (["info"], numpy)
        for runtime, library in libraries.items():
            arguments = ["predict", str(image), "--model", str(bundle.path), "--runtime", runtime, "--quiet"]
            work[f"mbdcnn predict, {runtime}"] = ([*arguments, "--out", str(folder / "out")], library)
        rows = [Row("python -c 'import torch'", torch.seconds, torch.seconds, note=_used(torch))]
        for title, (arguments, floor) in work.items():
            run = shortest("-m", "mbdcnn", *arguments)
            rows.append(Row(title, run.seconds, torch.seconds, floor.seconds, _used(run)))
        print_table("cold starts; floor: a Python that imports the libraries needed", rows)


def _used(run: Process) -> str:
    return f"{run.cpu_seconds:.2f} s of CPU"


if __name__ == "__main__":
    main()
