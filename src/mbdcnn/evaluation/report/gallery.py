"""Cases on the report: outlines, activation map and probabilities of single images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from mbdcnn.evaluation.report.wording import class_name, percent
from mbdcnn.inference import overlay

# Twice the width at which a case is shown, for screens of high resolution.
LONGEST_SIDE = 640


@dataclass(frozen=True)
class GalleryCase:
    """One image to show. Masks have the picture's size; the map may have any."""

    id: str
    picture: UInt8[np.ndarray, "h w 3"]
    truth: Bool[np.ndarray, "h w"] | None = None
    coarse: Bool[np.ndarray, "h w"] | None = None
    enhanced: Bool[np.ndarray, "h w"] | None = None
    activation_map: Float[np.ndarray, "fh fw"] | None = None
    jaccard: float | None = None
    label: str | None = None
    probabilities: Mapping[str, float] | None = None
    group: str = "Cases"


def gallery_section(gallery: Sequence[GalleryCase]) -> str:
    """Show cases under the headings of their groups, in the order given."""
    if not gallery:
        return ""
    groups = dict.fromkeys(case.group for case in gallery)
    cases = "".join(
        f'<h3>{escape(group)}</h3><div class="gallery">'
        + "".join(_case(case) for case in gallery if case.group == group)
        + "</div>"
        for group in groups
    )
    return f"<section><h2>Cases</h2>{_legend(gallery)}{cases}</section>"


def _legend(gallery: Sequence[GalleryCase]) -> str:
    lines = "".join(
        f'<li class="drawn"><i style="--colour:rgb{colour}"></i>{name}</li>'
        for name, colour, shown in (
            ("Truth", overlay.TRUTH, any(case.truth is not None for case in gallery)),
            ("Coarse mask", overlay.COARSE, any(case.coarse is not None for case in gallery)),
            ("Final mask", overlay.FINAL, any(case.enhanced is not None for case in gallery)),
        )
        if shown
    )
    colours = ", ".join(f"rgb{tuple(colour)}" for colour in overlay.HEAT_COLOURS.tolist())
    gradient = f'<i class="heat" style="background:linear-gradient(90deg, {colours})"></i>'
    scale = f"<li>Class activation, low {gradient} high</li>"
    mapped = any(case.activation_map is not None for case in gallery)
    return f'<ul class="legend" style="margin:0 0 18px">{lines}{scale if mapped else ""}</ul>'


def _case(case: GalleryCase) -> str:
    pictures = [(_outlined(case), f"{case.id} with outlines")]
    if case.activation_map is not None:
        heated = overlay.heat(_reduced(case.picture), case.activation_map)
        pictures.append((heated, f"{case.id} with the class activation map"))
    images = "".join(f'<img alt="{escape(text)}" src="{_data_uri(picture)}">' for picture, text in pictures)
    jaccard = "" if case.jaccard is None else f"Jaccard {percent(case.jaccard)} %"
    label = f"<p>True class: {escape(class_name(case.label))}</p>" if case.label else ""
    return (
        f'<figure class="case"><div class="pictures">{images}</div><figcaption>'
        f'<p class="name"><span>{escape(case.id)}</span><span>{jaccard}</span></p>{label}'
        f"{_probabilities(case)}</figcaption></figure>"
    )


def _probabilities(case: GalleryCase) -> str:
    if not case.probabilities:
        return ""
    rows = "".join(
        f'<dt class="{"true" * (name == case.label)}">{escape(class_name(name))}</dt>'
        f'<dd class="track"><i style="width:{100 * value:.1f}%"></i></dd><dd>{percent(value)} %</dd>'
        for name, value in case.probabilities.items()
    )
    return f'<dl class="probabilities">{rows}</dl>'


def _outlined(case: GalleryCase) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the truth widest and first, so a line on top of it leaves its edges in sight."""
    picture = _reduced(case.picture)
    for mask, colour, width in (
        (case.truth, overlay.TRUTH, 6),
        (case.coarse, overlay.COARSE, 3),
        (case.enhanced, overlay.FINAL, 3),
    ):
        if mask is not None:
            picture = overlay.outline(picture, _reduced(mask), colour, width)
    return picture


def _reduced(array: np.ndarray) -> np.ndarray:
    """Shrink a picture or mask to what the page shows."""
    image = Image.fromarray(array)
    nearest = array.dtype == bool
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS)
    return np.array(image)


def _data_uri(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    file = io.BytesIO()
    # A tenth of a PNG's size; full colour resolution keeps thin lines clean.
    Image.fromarray(picture).save(file, "JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
