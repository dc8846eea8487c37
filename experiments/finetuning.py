"""Is the shipped model a better start for a hundred images than public weights?

Trains on 100 training images of an ISIC-2017 folder, half as many others choosing the checkpoints, and scores on the
official validation images: from the shipped model (`finetune.yaml`), and by the same steps from public weights.

    python experiments/finetuning.py ISIC-2017 OUT --initial SEGMENTATION CLASSIFICATION
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.builtin import bundled_model
from mbdcnn.config import load_config
from mbdcnn.data import read_raw
from mbdcnn.data.readers.records import Record
from mbdcnn.evaluation.evaluate import evaluate
from mbdcnn.evaluation.options import Options
from mbdcnn.evaluation.report.wording import score_lines
from mbdcnn.pipeline import run
from mbdcnn.system.progress import bar

TRAINED, CHOOSING = 100, 50


def main() -> None:
    """Train what is not trained yet, score and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("raw", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--initial", nargs=2, required=True, help="public weights for coarse-SN and mask-CN")
    given = arguments.parse_args()
    coarse, classifier = given.initial
    public = [
        f"coarse.initial_weights={coarse}",
        f"classifier.initial_weights={classifier}",
        "enhanced.initial_weights=null",
        "enhanced.guidance_start=identity",
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    table = given.out / "images.csv"
    write_table(table, read_raw(given.raw, load_config("finetune").classes).records)
    results = {
        # The shipped model learnt from the images that choose the weights here; those that are scored are others.
        name: run(
            table,
            given.out / name,
            load_config("finetune", settings),
            bar,
            "test",
            allow_overlap=True,
            protocol="paper",
        )
        for name, settings in (("shipped", []), ("public", public))
    }
    shipped = Bundle.open(bundled_model())
    untrained = evaluate(shipped, results["shipped"].data, "test", given.out / "as it is", Options(protocol="paper"))
    print("the shipped model as it is", *score_lines(untrained), sep="\n  ")
    for name, result in results.items():
        print(f"{TRAINED} images, from {name} weights", *score_lines(result.report), sep="\n  ")


def write_table(file: Path, records: Sequence[Record]) -> None:
    """Draw the images to train on and to choose by; the official validation images are the test."""
    training = [record for record in records if record.split == "train"]
    order = np.random.default_rng(0).permutation(len(training))
    drawn = [training[place] for place in order[: TRAINED + CHOOSING]]
    test = [record for record in records if record.split == "validation"]
    parts = {"train": drawn[:TRAINED], "validation": drawn[TRAINED:], "test": test}
    classes = load_config("finetune").classes
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "image", "mask", "label", "split"])
        for split, members in parts.items():
            for each in members:
                label = "" if each.label is None else classes[each.label]
                rows.writerow([each.id, each.image.resolve(), each.mask and each.mask.resolve(), label, split])


if __name__ == "__main__":
    main()
