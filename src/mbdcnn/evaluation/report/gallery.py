"""Cases on the report: outlines, activation map and probabilities of single images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from mbdcnn.inference import overlay
from mbdcnn.inference.answer import words
from mbdcnn.inference.prediction import data_uri

# Twice the width at which a case is shown, for screens of high resolution.
LONGEST_SIDE = 640


@dataclass(frozen=True)
class GalleryCase:
    """One image to show. Masks have the image's size; the map may have any."""

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    truth: Bool[np.ndarray, "h w"] | None = None
    coarse: Bool[np.ndarray, "h w"] | None = None
    enhanced: Bool[np.ndarray, "h w"] | None = None
    activation_map: Float[np.ndarray, "fh fw"] | None = None
    activation_class: str | None = None
    jaccard: float | None = None
    label: str | None = None
    probabilities: Mapping[str, float] | None = None
    answer: str | None = None
    """What a user is told, in a sentence."""
    thresholds: Sequence[tuple[str, float]] = ()
    """Of the operating points, with the class of each."""
    group: str = "Cases"

    def shown(self) -> Iterator[tuple[str, str]]:
        """Give each image of the case, as a data URI, after the words for it."""
        yield f"{self.id} with outlines", _data_uri(_outlined(self))
        if self.activation_map is not None:
            heated = overlay.heat(_reduced(self.image), self.activation_map)
            lesion = self.coarse if self.enhanced is None else self.enhanced
            if lesion is not None:
                heated = overlay.outline(heated, _reduced(lesion), overlay.FINAL, 3)
            of = f" of {words(self.activation_class)}" if self.activation_class else ""
            yield f"{self.id} with the activation map{of}", _data_uri(heated)


def legend(gallery: Sequence[GalleryCase]) -> dict[str, Any]:
    """Give the outlines drawn in any of the cases with their colours, and the colours of the activation maps."""
    outlines = (
        ("Truth", overlay.TRUTH, any(case.truth is not None for case in gallery)),
        ("Coarse mask", overlay.COARSE, any(case.coarse is not None for case in gallery)),
        ("Final mask", overlay.FINAL, any(case.enhanced is not None for case in gallery)),
    )
    mapped = any(case.activation_map is not None for case in gallery)
    return {
        "drawn": [(name, colour) for name, colour, shown in outlines if shown],
        "heat": overlay.HEAT_GRADIENT if mapped else "",
    }


def _outlined(case: GalleryCase) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the truth widest and first, so a line on top of it leaves its edges in sight."""
    image = _reduced(case.image)
    for mask, colour, width in (
        (case.truth, overlay.TRUTH, 6),
        (case.coarse, overlay.COARSE, 3),
        (case.enhanced, overlay.FINAL, 3),
    ):
        if mask is not None:
            image = overlay.outline(image, _reduced(mask), colour, width)
    return image


def _reduced(array: np.ndarray) -> np.ndarray:
    """Shrink an image or mask to what the page shows."""
    image = Image.fromarray(array)
    nearest = array.dtype == bool
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS)
    return np.array(image)


def _data_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    # A tenth of a PNG's size; full colour resolution keeps thin lines clean.
    return data_uri(Image.fromarray(image), quality=88, subsampling=0)
