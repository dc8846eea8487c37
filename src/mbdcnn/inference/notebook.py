"""A prediction as notebooks show it: pictures, probabilities and the notice, in one piece of HTML."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.inference.overlay import shrink
from mbdcnn.inference.predictor import SHOWN_SIDE, Prediction, cam_overlay, overlay

NOTICE = "For research and education. Not a medical device."
SHEET = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start"


def as_html(prediction: Prediction) -> str:
    """Show outlines, activation map, probabilities, decisions and the notice; needs nothing from elsewhere."""
    picture = _shown(prediction)
    lines = [f"<b>{escape(_words(prediction.decision))}</b>"]
    if prediction.looks_like_dermoscopy is False:
        lines.append(
            "<b>Does not look like the dermoscopy images the model learnt from</b> (unfamiliarity "
            f"{prediction.unfamiliarity:.1f}, usual is up to 1); its results mean little."
        )
    lines.append(_table({_words(name): f"{value:.1%}" for name, value in prediction.probabilities.items()}))
    if prediction.decisions:
        lines.append(_table({name: "reached" if is_so else "-" for name, is_so in prediction.decisions.items()}))
    lines.append(f"lesion: {prediction.area_fraction:.1%} of the picture")
    lines.append(f"<small>{NOTICE}</small>")
    return (
        f'<div style="{SHEET}">'
        f"{_figure(overlay(picture, prediction), 'outlines: coarse amber, final blue')}"
        f"{_figure(cam_overlay(picture, prediction), f'where {_words(prediction.decision)} was seen')}"
        f"<div>{'<br>'.join(lines)}</div></div>"
    )


def _shown(prediction: Prediction) -> Image.Image:
    """Give the picture; of a prediction that has none, the lesion's probability in shades of grey."""
    if prediction.picture is not None:
        return Image.fromarray(prediction.picture)
    grey = Image.fromarray((prediction.mask_probability * 255).astype(np.uint8))
    return shrink(grey.convert("RGB"), SHOWN_SIDE)


def _figure(pixels: npt.NDArray[np.uint8], caption: str) -> str:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    source = f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"
    caption = escape(caption)
    return f'<figure style="margin:0"><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _table(rows: dict[str, str]) -> str:
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f'<table style="display:inline-table">{cells}</table>'


def _words(name: str) -> str:
    return name.replace("_", " ")
