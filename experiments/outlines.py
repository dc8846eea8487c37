"""What a better outline is worth to the class: the model's own coarse mask against given ones.

Each image of a split is classified with the model's own coarse mask, with the true mask, with the true mask as a person
might have drawn it (wider, narrower, aside, by a share of the lesion's diameter), and with two masks that say nothing:
all lesion and no lesion. Differences are from the model's own mask, with paired 95 % intervals by redrawing images.

    python experiments/outlines.py isic2017/ --out outlines.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mbdcnn.data import read_raw
from mbdcnn.data.images.decoding import decode, read_mask
from mbdcnn.data.readers.records import Record
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.prompts import Correction
from mbdcnn.metrics import estimators
from mbdcnn.metrics.bootstrap import Counts, Resamples, Statistic

Mask = npt.NDArray[np.bool_]
Estimates = dict[tuple[str, ...], Any]
OWN = "the model's own"


def diameter(mask: Mask) -> float:
    """Give the diameter of a disc of the mask's area."""
    return float(2 * np.sqrt(np.count_nonzero(mask) / np.pi))


def grown(mask: Mask, share: float) -> Mask:
    """Move the outline outwards by a share of the lesion's diameter, inwards where it is negative."""
    inside, outside = (
        ndimage.distance_transform_edt(np.pad(each, 1, mode="edge"))[1:-1, 1:-1] for each in (mask, ~mask)
    )
    moved = np.where(mask, inside, -outside) > -share * diameter(mask)
    # Of a thin lesion something is left.
    return moved if moved.any() else mask


def aside(mask: Mask, share: float, number: int) -> Mask:
    """Move a mask by a share of the lesion's diameter, in a direction that the image's number decides."""
    angle = np.random.default_rng(number).uniform(0, 2 * np.pi)
    by = share * diameter(mask) * np.array([np.sin(angle), np.cos(angle)])
    return ndimage.shift(mask.astype(np.uint8), by.round(), order=0) > 0


OUTLINES: dict[str, Callable[[Mask, int], Mask]] = {
    "true": lambda truth, number: truth,
    "true, 5 % wider": lambda truth, number: grown(truth, 0.05),
    "true, 10 % wider": lambda truth, number: grown(truth, 0.1),
    "true, 5 % narrower": lambda truth, number: grown(truth, -0.05),
    "true, 10 % narrower": lambda truth, number: grown(truth, -0.1),
    "true, 10 % aside": lambda truth, number: aside(truth, 0.1, number),
    "true, 20 % aside": lambda truth, number: aside(truth, 0.2, number),
    "all lesion": lambda truth, number: np.ones_like(truth),
    "no lesion": lambda truth, number: np.zeros_like(truth),
}


NAMES = (OWN, *OUTLINES)
SCORES = ("mean AUC", "melanoma AUC", "log-loss", "final Jaccard")


def jaccard(one: Mask, other: Mask) -> float:
    return float(np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other)))


def scores_of(
    probabilities: npt.NDArray[np.float64], jaccards: npt.NDArray[np.float64], labels: npt.NDArray[np.int_],
    classes: tuple[str, ...], counts: Counts,
) -> dict[str, Statistic]:  # fmt: skip
    """Score one kind of outline in each resample, in points; log-loss as it is."""
    areas = {
        name: 100 * estimators.auc(counts, probabilities[:, place], labels == place).values
        for place, name in enumerate(classes) if place
    }  # fmt: skip
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7))
    return {
        "mean AUC": Statistic(np.mean([*areas.values()], axis=0)),
        "melanoma AUC": Statistic(areas["melanoma"]),
        "log-loss": estimators.mean(counts, loss),
        "final Jaccard": estimators.mean(counts, 100 * jaccards),
    }


@dataclass(frozen=True)
class Classified:
    """What became of each image with each outline; arrays are outlines x images."""

    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    """And x classes."""
    given: npt.NDArray[np.float64]
    """Jaccard index of the coarse mask."""
    final: npt.NDArray[np.float64]
    """That of the final one."""
    labels: npt.NDArray[np.int_]

    def statistics(self, counts: Counts) -> dict[tuple[str, ...], Statistic]:
        """Score every outline in each resample, and how far it is from the model's own."""
        every = {
            name: scores_of(self.probabilities[place], self.final[place], self.labels, self.classes, counts)
            for place, name in enumerate(NAMES)
        }
        values = {(name, score): value for name, scores in every.items() for score, value in scores.items()}
        differences = {
            (name, score, "difference"): value - every[OWN][score] for (name, score), value in values.items()
        }
        return values | differences


def classified(predictor: Predictor, records: Sequence[Record]) -> Classified:
    """Classify each image with its own coarse mask and with each of the outlines."""
    probabilities = np.zeros((len(NAMES), len(records), len(predictor.classes)))
    given, final = np.zeros((2, len(NAMES), len(records)))
    for number, record in enumerate(records):
        image, truth = decode(record.image), np.asarray(read_mask(record.mask).image)
        plain = predictor.read(image)
        # Past the door for people, which refuses an empty mask.
        masks = [make(truth, number) for make in OUTLINES.values()]
        packed = [np.packbits(mask, axis=1) for mask in masks]
        inputs = [replace(plain, correction=Correction(image.width, image.height, bits, (), None)) for bits in packed]
        for place, prediction in enumerate(predictor.predict_inputs([plain, *inputs], "fast")):
            probabilities[place, number] = [*prediction.probabilities.values()]
            given[place, number] = jaccard(prediction.coarse_mask, truth)
            final[place, number] = jaccard(prediction.mask, truth)
        print(f"\r{number + 1} of {len(records)}", end="", flush=True)
    labels = np.array([record.label for record in records])
    return Classified(predictor.classes, probabilities, given, final, labels)


def print_table(estimates: Estimates, given: npt.NDArray[np.float64]) -> None:
    """Print a row for each outline: its Jaccard index, and each score with its difference from the model's own."""
    print("\n\n| coarse mask | its Jaccard | " + " | ".join(SCORES) + " |\n" + "|---" * (2 + len(SCORES)) + "|")
    for place, name in enumerate(NAMES):
        cells = (cell(name, score, estimates) for score in SCORES)
        print(f"| {name} | {100 * given[place].mean():.1f} | " + " | ".join(cells) + " |")


def cell(name: str, score: str, estimates: Estimates) -> str:
    digits, value, moved = 3 if score == "log-loss" else 1, estimates[name, score], estimates[name, score, "difference"]
    difference = f" ({moved['value']:+.{digits}f}; {moved['low']:+.{digits}f} to {moved['high']:+.{digits}f})"
    return f"{value['value']:.{digits}f}" + ("" if name == OWN else difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="ISIC-2017 as it unpacks")
    parser.add_argument("--model", type=Path, help="the one that comes with the package if not given")
    parser.add_argument("--split", choices=("train", "validation"), default="validation")
    parser.add_argument("--images", type=int, help="the first so many; all if not given")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--out", type=Path, help="all scores as JSON")
    options = parser.parse_args()
    predictor = Predictor.load(options.model, runtime=options.runtime)
    records = [
        record for record in read_raw(options.data, predictor.classes).records
        if record.split == options.split and record.mask is not None and record.label is not None
    ][: options.images]  # fmt: skip
    found = classified(predictor, records)
    estimates = Resamples(len(records)).estimates(found.statistics)
    print_table(estimates, found.given)
    if options.out:
        scores = [{"name": name, "estimate": value} for name, value in estimates.items()]
        options.out.write_text(json.dumps({"images": len(records), "scores": scores}, indent=1) + "\n")


if __name__ == "__main__":
    main()
