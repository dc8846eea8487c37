"""What should not change the class, since the lesion stays as it is: a sticker beside it, another's skin round it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from mbdcnn.evaluation.classification import labelled, overall_statistics
from mbdcnn.evaluation.corruptions import Colours, Mask, RGBImage
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.scoring import nested, resamples_of
from mbdcnn.metrics import estimators
from mbdcnn.metrics.bootstrap import Counts, Statistic

STICKER, BACKGROUND = "sticker", "background"
COLOURS = np.array([[115, 205, 215], [45, 180, 75], [245, 150, 80], [240, 200, 50], [45, 100, 180]]) / 255
"""Turquoise, green, orange, yellow and blue, as the stickers beside nevi in ISIC-2017."""
RADII = (0.22, 0.16, 0.1, 0.06)
"""Of a sticker, as shares of the shorter side: the largest for which there is a place."""
GAP = 0.03
"""Between sticker and lesion, as a share of the shorter side."""
FEATHER = 0.05
"""Width of the lesion's own skin that fades into another's, and that is painted over with a lesion; likewise."""
MOST_LESION = 0.5
"""Share of lesion above which an image lends no skin."""


class Change(NamedTuple):
    """What a model made of one image as it is and changed."""

    before: ImageScore
    after: ImageScore


def add_sticker(image: RGBImage, lesion: Mask, image_id: str) -> RGBImage | None:
    """Paste a coloured disc beside the lesion, perhaps cut off by the image's edge; None where there is no room.

    Args:
        image: RGB.
        lesion: the true mask.
        image_id: decides colour and place.
    """
    rng = np.random.default_rng([zlib.crc32(image_id.encode(errors="surrogateescape")), zlib.crc32(STICKER.encode())])
    side, away = min(lesion.shape), _distance(lesion)
    colour = COLOURS[rng.integers(len(COLOURS))] * rng.uniform(0.9, 1.1)
    for radius in (side * share for share in RADII):
        places = np.argwhere(away >= radius + GAP * side)
        if len(places):
            row, column = places[rng.integers(len(places))]
            y, x = np.ogrid[: lesion.shape[0], : lesion.shape[1]]
            return _mixed(image, colour, (radius + 0.5 - np.hypot(y - row, x - column)).clip(0, 1))
    return None


def exchange_background(
    image: RGBImage, lesion: Mask, other: UInt8[np.ndarray, "hh ww 3"], other_lesion: Bool[np.ndarray, "hh ww"]
) -> RGBImage:
    """Put a lesion with a fading rim of its own skin on another image's skin, where the lesion is painted over."""
    height, width = lesion.shape
    skin = Image.fromarray(paint_over(other, other_lesion)).resize((width, height), Image.Resampling.BICUBIC)
    kept = (1 - _distance(lesion) / (FEATHER * min(lesion.shape))).clip(0, 1)
    return _mixed(np.asarray(skin), image / 255, kept)


def paint_over(image: RGBImage, lesion: Mask) -> RGBImage:
    """Fill the lesion with the colours of the skin round it, blurred the more the further away that is."""
    from scipy.ndimage import uniform_filter

    side = min(lesion.shape)
    known = (_distance(lesion) > FEATHER * side).astype(float)
    if not known.any():
        return image
    colours = image / 255
    filled = np.broadcast_to(np.median(colours[known > 0], axis=0), colours.shape)
    weighted = np.dstack([colours * known[..., None], known])
    for window in (max(3, round(side * share)) for share in (1, 0.5, 0.25, 0.12, 0.06)):
        # Twice, which weighs what is nearer more; a Gaussian of this width takes a second.
        once = uniform_filter(weighted, (window, window, 1), mode="nearest")
        near = uniform_filter(once, (window, window, 1), mode="nearest")
        trust = (near[..., 3:] / 0.1).clip(0, 1)
        filled = filled * (1 - trust) + near[..., :3] / np.maximum(near[..., 3:], 1e-9) * trust
    return _mixed(image, filled, 1 - known)


def summarise_changes(
    changes: Mapping[str, Sequence[Change]], classes: Sequence[str], samples: int, seed: int
) -> list[dict[str, Any]]:
    """Say how far the model's answers move, each with its interval.

    Returns:
        For each change of the image `{name, images, decisions_changed, probability_change: {class: estimate},
        probability_change_of_cases: {class: estimate}, auc_change: {mean_auc or CLASS_auc: estimate}}`. The change of
        a probability is its mean amount; that of cases has its sign, over the images that truly are of the class.
        No more than the first two where there is no image.
    """
    return [
        {"name": name, "images": len(each), **(_moved(each, classes, samples, seed) if each else {})}
        for name, each in changes.items()
    ]


def _moved(changes: Sequence[Change], classes: Sequence[str], samples: int, seed: int) -> dict[str, Any]:
    before, after = ([change[place] for change in changes] for place in (0, 1))
    one, other = (np.array([score.probabilities for score in scores]) for scores in (before, after))
    labels = np.array([-1 if score.label is None else score.label for score in before])
    others = list(enumerate(classes))[1:]
    decisions = labelled(before), labelled(after)

    def statistics(counts: Counts) -> dict[tuple[str, ...], Statistic]:
        moved = other - one
        differs = (one.argmax(1) != other.argmax(1)).astype(float)
        values: dict[tuple[str, ...], Statistic] = {("decisions_changed",): estimators.mean(counts, differs)}
        for index, name in others:
            of_cases = np.where(labels == index, moved[:, index], np.nan)
            values["probability_change", name] = estimators.mean(counts, np.abs(moved[:, index]))
            values["probability_change_of_cases", name] = estimators.mean(counts, of_cases)
        if decisions[0] is not None and decisions[1] is not None:
            clean, changed = (overall_statistics(each, classes, counts) for each in decisions if each is not None)
            for name in ("mean_auc", *(f"{name}_auc" for _, name in others)):
                values["auc_change", name] = changed[name] - clean[name]
        return values

    return nested(resamples_of(before, samples, seed).estimates(statistics))


def _distance(lesion: Mask) -> Float[np.ndarray, "h w"]:
    """Give each pixel's distance from the lesion, 0 inside; infinite where there is none."""
    from scipy.ndimage import distance_transform_edt

    if not lesion.any():
        return np.full(lesion.shape, np.inf)
    distance: Float[np.ndarray, "h w"] = distance_transform_edt(~lesion)
    return distance


def _mixed(image: RGBImage, over: Colours | Float[np.ndarray, " c"], cover: Float[np.ndarray, "h w"]) -> RGBImage:
    """Lay colours over an image, where `cover` is above 0."""
    mixed = image / 255 * (1 - cover[..., None]) + over * cover[..., None]
    pixels: UInt8[np.ndarray, "h w 3"] = (mixed * 255).round().clip(0, 255).astype(np.uint8)
    return pixels
