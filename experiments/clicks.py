"""Jaccard against clicks: coarse masks made wrong on purpose, and corrected by simulated clicks.

Each of the first images of a split is outlined by the model; that mask is made wrong in two of six ways, in turn, and
handed to `Predictor.predict(image, coarse_mask=wrong, points=clicks)`, which knows nothing of the model's own mask. The
next click is the one of the interactive segmentation papers: in the middle of the largest region of errors, at the
deepest point (Xu et al., CVPR 2016; Mahadevan et al., BMVC 2018). Curves are of the coarse mask and of the final one,
against the truth. "Recovered" is what the first click wins back of the Jaccard that was lost from the model's own mask;
intervals by the bootstrap over images. A last curve corrects the model's own masks, by coarse-SN's logits.

    python experiments/clicks.py isic2017/ --out clicks.json
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from mbdcnn.data import read_raw
from mbdcnn.data.images.decoding import decode, read_mask
from mbdcnn.inference.predictor import Predictor

Mask = npt.NDArray[np.bool_]
Random = np.random.Generator
CLICKS = 5
OWN = "the model's own"


def diameter(mask: Mask) -> float:
    """Give the diameter of a disc of the mask's area."""
    return float(2 * np.sqrt(np.count_nonzero(mask) / np.pi))


def dilated(mask: Mask, random: Random) -> Mask:
    return ndimage.distance_transform_edt(~mask) <= 0.25 * diameter(mask)


def eroded(mask: Mask, random: Random) -> Mask:
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth > min(0.2 * diameter(mask), 0.6 * depth.max())


def shifted(mask: Mask, random: Random) -> Mask:
    angle = random.uniform(0, 2 * np.pi)
    by = 0.35 * diameter(mask) * np.array([np.sin(angle), np.cos(angle)])
    return ndimage.shift(mask.astype(np.uint8), by.round(), order=0) > 0


def halved(mask: Mask, random: Random) -> Mask:
    angle, (row, column) = random.uniform(0, 2 * np.pi), ndimage.center_of_mass(mask)
    rows, columns = np.indices(mask.shape)
    return mask & ((rows - row) * np.sin(angle) + (columns - column) * np.cos(angle) > 0)


def elsewhere(mask: Mask, random: Random) -> Mask:
    """Draw a disc of the lesion's area beside it, or the largest for which there is room."""
    away = ndimage.distance_transform_edt(np.pad(~ndimage.binary_dilation(mask, iterations=3), 1))[1:-1, 1:-1]
    radius = min(diameter(mask) / 2, 0.9 * away.max())
    places = np.argwhere(away >= radius)
    row, column = places[random.integers(len(places))]
    rows, columns = np.indices(mask.shape)
    return (np.hypot(rows - row, columns - column) <= radius) & ~mask


def with_another(mask: Mask, random: Random) -> Mask:
    return mask | elsewhere(mask, random)


WRONG: dict[str, Callable[[Mask, Random], Mask]] = {
    "dilated by 25 % of the diameter": dilated,
    "eroded by 20 %": eroded,
    "shifted by 35 %": shifted,
    "half of it missing": halved,
    "a second region": with_another,
    "another region instead": elsewhere,
}


def next_click(mask: Mask, truth: Mask) -> tuple[float, float, int] | None:
    """Click into the middle of the largest region of errors; None where there is none."""
    largest, size = np.zeros_like(mask), 0
    for errors in (truth & ~mask, mask & ~truth):
        regions, count = ndimage.label(errors)
        if count and (sizes := np.bincount(regions.ravel())[1:]).max() > size:
            size, largest = sizes.max(), regions == 1 + sizes.argmax()
    if not size:
        return None
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return float(column) + 0.5, float(row) + 0.5, int(truth[row, column])


def jaccard(one: Mask, other: Mask) -> float:
    return float(np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other)))


def curve(predictor: Predictor, image: Image.Image, truth: Mask, start: Mask | None) -> Iterator[tuple[float, float]]:
    """Give the Jaccard of coarse and final mask after 0 clicks, 1 click and so on."""
    points: list[tuple[float, float, int]] = []
    for _ in range(CLICKS + 1):
        prediction = predictor.predict(image, coarse_mask=start, points=points)
        yield jaccard(prediction.coarse_mask, truth), jaccard(prediction.mask, truth)
        click = next_click(prediction.coarse_mask, truth)
        points += [] if click is None else [click]


def ratio_interval(gained: npt.NDArray[np.float64], lost: npt.NDArray[np.float64], ids: npt.NDArray[np.str_]) -> str:
    """Give the share of the lost that was gained, with its 95 % interval over resampled images."""
    names, place = np.unique(ids, return_inverse=True)
    counts = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), 1000)[:, place]
    low, high = np.percentile((counts @ gained) / (counts @ lost), [2.5, 97.5])
    return f"{gained.sum() / lost.sum():4.0%} ({low:.0%} to {high:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="ISIC-2017 as it unpacks")
    parser.add_argument("--model", type=Path, help="the one that comes with the package if not given")
    parser.add_argument("--split", choices=("train", "validation"), default="validation")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--out", type=Path, help="all curves as JSON")
    options = parser.parse_args()
    predictor = Predictor.load(options.model, runtime=options.runtime)
    records = [each for each in read_raw(options.data, predictor.classes).records if each.split == options.split]
    found: dict[str, list[tuple[str, float, list[tuple[float, float]]]]] = defaultdict(list)
    for number, record in enumerate(records[: options.images]):
        image, truth = decode(record.image), np.asarray(read_mask(record.mask).image)
        own = list(curve(predictor, image, truth, None))
        found[OWN].append((record.id, own[0][0], own))
        mask = predictor.predict(image).coarse_mask
        for place in range(2):
            name = list(WRONG)[(number + place * (1 + number // 6 % 5)) % len(WRONG)]
            wrong = WRONG[name](mask, np.random.default_rng([number, place])) if mask.any() else mask
            if wrong.any():
                found[name].append((record.id, own[0][0], list(curve(predictor, image, truth, wrong))))
        print(f"\r{number + 1} of {options.images}", end="", flush=True)
    print()
    for which, kind in enumerate(("coarse", "final")):
        print(
            f"\n| {kind} mask | images | 0 clicks | 1 | 2 | 3 | 4 | 5 | recovered by the first |\n" + "|---" * 9 + "|"
        )
        everything = [each for name in WRONG for each in found[name]]
        for name, rows in [*((name, found[name]) for name in WRONG), ("all of them", everything), (OWN, found[OWN])]:
            jaccards = np.array([[step[which] for step in steps] for _, _, steps in rows])
            own_of = {image_id: steps[0][which] for image_id, _, steps in found[OWN]}
            lost = np.array([own_of[image_id] for image_id, _, _ in rows]) - jaccards[:, 0]
            ids = np.array([image_id for image_id, _, _ in rows])
            # Of what the final mask hardly loses there is nothing to recover.
            recovered = "" if name == OWN or which else ratio_interval(jaccards[:, 1] - jaccards[:, 0], lost, ids)
            means = " | ".join(f"{100 * value:.1f}" for value in jaccards.mean(axis=0))
            print(f"| {name} | {len(rows)} | {means} | {recovered} |")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
