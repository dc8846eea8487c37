"""What each network of a model gives the next: the coarse mask to the class, the activation map to the final mask.

python experiments/links.py --data out/data --split validation

Scores the class with the model's own coarse masks, without any and with the true lesions; and enhanced-SN with
mask-CN's activation maps, without any, with the coarse mask in place of the map, and with the true lesion, which is the
ceiling. Differences are paired, with 95 % bootstrap intervals. Protocol `fast`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.builtin import open_model
from mbdcnn.artifacts.manifest import Row
from mbdcnn.inference.networks import load_networks
from mbdcnn.inference.probabilities import averaged_softmax
from mbdcnn.inference.protocol import Core, lesion_minus_background, resize_mask
from mbdcnn.inference.runtimes import TorchCore
from mbdcnn.inference.tta import enlarge
from mbdcnn.metrics.bootstrap import Resamples, Statistic
from mbdcnn.metrics.estimators import auc, mean

BATCH = 16
MASKS = ("own mask", "no mask", "true mask")
MAPS = ("own map", "no map", "coarse mask as map", "true lesion as map")


def main() -> None:
    """Predict every image in each way, and print scores and differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="validation")
    given = parser.parse_args()
    data, bundle = PreparedData.open(given.data), open_model(given.model)
    data.check_made_with(bundle.config)
    core = TorchCore(load_networks(bundle.config, bundle.path), torch.device("cpu"))
    rows = [row for row in data.split(given.split) if row.has_mask]
    labelled = np.array([row.label is not None for row in rows])
    logits: dict[str, list[np.ndarray]] = {name: [] for name in MASKS}
    jaccard: dict[str, list[float]] = {name: [] for name in MAPS}
    for part in (rows[start : start + BATCH] for start in range(0, len(rows), BATCH)):
        for name, values in classified(core, data, part):
            logits[name] += list(values)
        for name, scores in outlined(core, data, part):
            jaccard[name] += scores
    calibration = bundle.calibration("fast")
    temperature = calibration.temperature if calibration else 1.0
    probabilities = {
        name: averaged_softmax(np.stack(values)[labelled, None].astype(float), temperature)
        for name, values in logits.items()
    }
    labels = np.array([row.label for row in rows if row.label is not None])
    report_classes(probabilities, labels, data.classes)
    report_masks({name: np.array(scores) for name, scores in jaccard.items()})


def pixels_of(data: PreparedData, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Give images and true masks at the networks' size."""
    pixels = data.patches[[row.views[0] for row in rows]]
    side = pixels.shape[1]
    return pixels, np.stack([resize_mask(data.truth(row), side, side) for row in rows])


def classified(core: Core, data: PreparedData, rows: list[Row]) -> Iterator[tuple[str, np.ndarray]]:
    """Give the class logits with each kind of mask."""
    pixels, truth = pixels_of(data, rows)
    own = lesion_minus_background(core.coarse(pixels)) > 0
    for name, masks in zip(MASKS, (own, np.zeros_like(own), truth), strict=True):
        yield name, core.classify(pixels, masks).logits


def outlined(core: Core, data: PreparedData, rows: list[Row]) -> Iterator[tuple[str, list[float]]]:
    """Give the Jaccard index of enhanced-SN with each kind of map."""
    pixels, truth = pixels_of(data, rows)
    coarse = lesion_minus_background(core.coarse(pixels)) > 0
    own = core.classify(pixels, coarse).activation_maps
    for name, maps in zip(MAPS, (own, np.zeros_like(own), as_maps(coarse, own), as_maps(truth, own)), strict=True):
        found = lesion_minus_background(core.enhance(pixels, maps))
        scores = []
        for row, logits in zip(rows, found, strict=True):
            lesion = data.truth(row)
            mask = enlarge(logits, *lesion.shape) > 0
            scores.append(float((mask & lesion).sum() / max(1, (mask | lesion).sum())))
        yield name, scores


def as_maps(masks: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Average masks n s s over the cells of activation maps n 1 h w."""
    count, _, height, width = like.shape
    cells = masks.reshape(count, height, masks.shape[1] // height, width, masks.shape[2] // width)
    return cells.mean(axis=(2, 4), dtype=np.float32)[:, None]


def report_classes(probabilities: dict[str, np.ndarray], labels: np.ndarray, classes: tuple[str, ...]) -> None:
    """Print the mean AUC with each kind of mask, and what it gains over none."""
    cases = [labels == number for number in range(len(classes))]

    def statistics(counts: np.ndarray) -> dict[tuple[str, ...], Statistic]:
        found = {
            name: np.mean([auc(counts, values[:, k], cases[k]).values for k in range(1, len(classes))], axis=0)
            for name, values in probabilities.items()
        }
        differences = {(name, "difference"): found[name] - found["no mask"] for name in MASKS if name != "no mask"}
        return {
            key: Statistic(value) for key, value in ({(name,): found[name] for name in MASKS} | differences).items()
        }

    print(f"mean AUC, {len(labels)} images")
    show(Resamples(len(labels)).estimates(statistics))


def report_masks(jaccard: dict[str, np.ndarray]) -> None:
    """Print the Jaccard index with each kind of map, and what it gains over none."""

    def statistics(counts: np.ndarray) -> dict[tuple[str, ...], Statistic]:
        differences = {
            (name, "difference"): mean(counts, jaccard[name] - jaccard["no map"]) for name in MAPS if name != "no map"
        }
        return {(name,): mean(counts, jaccard[name]) for name in MAPS} | differences

    count = len(jaccard["own map"])
    print(f"Jaccard index of enhanced-SN, {count} images")
    show(Resamples(count).estimates(statistics))


def show(estimates: dict[tuple[str, ...], object]) -> None:
    """Print a line each."""
    for name, found in estimates.items():
        assert isinstance(found, dict)
        text = " from none, ".join(name) if len(name) > 1 else name[0]
        print(f"  {text:<40} {found['value']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})")


if __name__ == "__main__":
    main()
