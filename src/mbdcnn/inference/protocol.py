"""How the three networks look at a picture: `fast`, one view each, and `paper`, the authors' evaluation in full.

Works on arrays, whatever runs the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.manifest import Row
from mbdcnn.config import Data, Views
from mbdcnn.data.crops import Box, squash, unique_boxes, view_boxes, views_of_picture
from mbdcnn.data.images.decoding import Decoded
from mbdcnn.inference.correction import corrected_mask
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prompts import Correction
from mbdcnn.inference.tta import SIX_VIEWS, all_views, enlarge, merge_views

Pixels = npt.NDArray[Any]
"""n h w 3, uint8 or float in [0, 1]."""
Logits = npt.NDArray[np.float32]
BoolMasks = npt.NDArray[np.bool_]
"""n h w."""


class Guidance(NamedTuple):
    """What the classifier makes of pictures and their coarse masks."""

    logits: Logits
    """n k."""
    activation_maps: Logits
    """Of the predicted class, n 1 h/16 w/16."""
    embedding: Logits
    """Pooled features, n c."""


class Core(Protocol):
    """The three networks on one view, as any runtime offers them."""

    runtime: str
    """Its name; what it gives is the same but for rounding."""

    def coarse(self, pixels: Pixels) -> Logits:
        """Give mask logits, n 2 h w."""

    def classify(self, pixels: Pixels, masks: BoolMasks) -> Guidance:
        """Give class logits and activation maps."""

    def enhance(self, pixels: Pixels, activation_maps: Logits) -> Logits:
        """Give mask logits, n 2 h w."""


@dataclass(frozen=True)
class Inputs:
    """One picture, resampled to all that a protocol looks at."""

    width: int
    height: int
    patches: npt.NDArray[np.uint8]
    """Distinct views of the classifier, u s s 3; the first is the whole picture."""
    views: tuple[int, ...]
    """Which patch each of the views is."""
    scales: dict[int, npt.NDArray[np.uint8]]
    """The whole picture by side, s s 3."""
    shown: npt.NDArray[np.uint8] | None = None
    """A copy to draw on, h w 3, where one was asked for."""
    profile_ignored: bool = False
    """Whether it has a colour profile that could not be used."""
    boxes: tuple[Box, ...] = ()
    """Which part of the picture each patch is; none of one that was prepared."""
    correction: Correction | None = None
    """What a person says of its coarse mask."""
    pixel_spacing: tuple[float, float] | None = None
    """Height and width of a pixel in millimetres, where the file says it."""


class Classified(NamedTuple):
    """What coarse-SN and mask-CN make of one picture."""

    view_logits: Logits
    """Class logits of each view, v k."""
    coarse_mask: BoolMasks
    """Of the whole upright picture, at the networks' size, s s."""
    activation_map: Logits
    """Of the whole upright picture, s/16 s/16."""
    embedding: Logits
    """Pooled features of the whole upright picture, c."""


@dataclass(frozen=True)
class Outcome:
    """What the networks make of one picture."""

    view_logits: Logits
    """Class logits of each view, v k."""
    coarse_mask: BoolMasks
    """At the networks' size, s s."""
    activation_map: Logits
    """Of the whole upright picture, s/16 s/16."""
    embedding: Logits
    """Pooled features of the whole upright picture, c."""
    scale_logits: tuple[Logits, ...]
    """For each scale, mean over views of lesion minus background logit, s s."""
    width: int
    height: int

    @property
    def mapped_class(self) -> int:
        """Which class the activation map is of: the most probable in the first view, the whole upright picture."""
        return int(self.view_logits[0].argmax())

    def lesion_logits(self) -> Logits:
        """Enlarge to the picture's own size and average over scales, h w. Large, so not kept."""
        total = np.zeros((self.height, self.width), np.float32)
        for logits in self.scale_logits:
            total += enlarge(logits, self.height, self.width)
        return total / np.float32(len(self.scale_logits))


def inputs_of_picture(picture: Decoded | Image.Image, settings: Data, protocol: ProtocolName) -> Inputs:
    """Resample a picture as `prepare` does, to what a protocol looks at.

    Args:
        picture: decoded to at least the `least_side` of these settings, or an RGB image with all its pixels.
        settings: how `prepare` was told to.
        protocol: what will look at it.
    """
    if isinstance(picture, Image.Image):
        picture = Decoded.whole(picture)
    if protocol == "fast":
        settings = settings.model_copy(update={"scales": (), "views": Views(fractions=())})
    distinct, views = unique_boxes(view_boxes(picture.width, picture.height, settings.views.fractions))
    patches = np.stack(views_of_picture(picture, distinct, settings.image_size))
    whole = distinct[0]
    scales = {side: squash(picture, whole, side) for side in settings.scales if side != settings.image_size}
    scales[settings.image_size] = patches[0]
    return Inputs(picture.width, picture.height, patches, tuple(views), scales, boxes=tuple(distinct))


def inputs_of_row(data: PreparedData, row: Row, settings: Data) -> Inputs:
    """Read a picture that was prepared."""
    distinct = sorted(set(row.views))
    patches = data.patches[distinct]
    views = tuple(distinct.index(view) for view in row.views)
    scales = {settings.image_size: patches[0]}
    if row.evaluation_row is not None:
        for side in settings.scales:
            if side != settings.image_size:
                scales[side] = data.scale(side)[row.evaluation_row]
    return Inputs(row.width, row.height, patches, views, scales)


def run_protocol(core: Core, inputs: Sequence[Inputs], protocol: ProtocolName) -> Iterable[Outcome]:
    """Look at pictures by one of the two protocols."""
    if protocol == "fast":
        return _fast(core, inputs) if inputs else ()
    return (_paper(core, picture) for picture in inputs)


def classify_pictures(core: Core, inputs: Sequence[Inputs], protocol: ProtocolName) -> Iterable[Classified]:
    """Look at pictures by one of the two protocols as far as their class, without enhanced-SN."""
    if protocol == "fast":
        return _classify_whole(core, inputs)
    return (_classify_views(core, picture) for picture in inputs)


def six_view_masks(coarse: Callable[[Pixels], Logits], pixels: Pixels) -> BoolMasks:
    """Give coarse masks by the sum of six views."""
    return _six_view_logits(coarse, pixels) > 0


def enhanced_logits(core: Core, pixels: Pixels, masks: BoolMasks) -> Logits:
    """Sum enhanced-SN's logits over six views, each with its own activation map."""
    views = all_views(pixels)
    guidance = core.classify(views, all_views(masks))
    return merge_views(core.enhance(views, guidance.activation_maps))


def lesion_minus_background(logits: Logits) -> Logits:
    """Reduce two channels to the one that decides, n 2 h w to n h w."""
    difference: Logits = logits[:, 1] - logits[:, 0]
    return difference


def resize_mask(mask: BoolMasks, width: int, height: int) -> BoolMasks:
    """Resize one mask by nearest neighbour, as Pillow does."""
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _six_view_logits(coarse: Callable[[Pixels], Logits], pixels: Pixels) -> Logits:
    return lesion_minus_background(merge_views(coarse(all_views(pixels))))


def _fast(core: Core, inputs: Sequence[Inputs]) -> list[Outcome]:
    classified = _classify_whole(core, inputs)
    maps = np.stack([each.activation_map for each in classified])[:, None]
    logits = lesion_minus_background(core.enhance(_whole_pictures(inputs), maps))
    return [
        Outcome(**each._asdict(), scale_logits=(logits[index],), width=picture.width, height=picture.height)
        for index, (each, picture) in enumerate(zip(classified, inputs, strict=True))
    ]


def _paper(core: Core, picture: Inputs) -> Outcome:
    classified = _classify_views(core, picture)
    original = resize_mask(classified.coarse_mask, picture.width, picture.height)
    scale_logits = []
    for side, pixels in picture.scales.items():
        mask = resize_mask(original, side, side)
        logits = lesion_minus_background(enhanced_logits(core, pixels[None], mask[None]))
        scale_logits.append(logits[0] / len(SIX_VIEWS))
    return Outcome(**classified._asdict(), scale_logits=tuple(scale_logits), width=picture.width, height=picture.height)


def _whole_pictures(inputs: Sequence[Inputs]) -> Pixels:
    return np.stack([picture.patches[0] for picture in inputs])


def _classify_whole(core: Core, inputs: Sequence[Inputs]) -> list[Classified]:
    pixels = _whole_pictures(inputs)
    masks = _whole_masks(core, inputs, pixels)
    guidance = core.classify(pixels, masks)
    return [
        Classified(
            view_logits=guidance.logits[index : index + 1],
            coarse_mask=masks[index],
            activation_map=guidance.activation_maps[index, 0],
            embedding=guidance.embedding[index],
        )
        for index in range(len(inputs))
    ]


def _classify_views(core: Core, picture: Inputs) -> Classified:
    masks = _view_masks(core, picture)
    guidance = core.classify(picture.patches, masks)
    return Classified(
        view_logits=guidance.logits[list(picture.views)],
        coarse_mask=masks[0],
        activation_map=guidance.activation_maps[0, 0],
        embedding=guidance.embedding[0],
    )


def _whole_masks(core: Core, inputs: Sequence[Inputs], pixels: Pixels) -> BoolMasks:
    """Give the coarse masks of whole pictures by one view; coarse-SN is left out where one was given."""
    asked = [place for place, picture in enumerate(inputs) if _needs_coarse(picture)]
    logits = dict(zip(asked, lesion_minus_background(core.coarse(pixels[asked])), strict=True)) if asked else {}
    return np.stack([_whole_mask(picture, logits.get(place)) for place, picture in enumerate(inputs)])


def _view_masks(core: Core, picture: Inputs) -> BoolMasks:
    """Give the coarse mask of each of a picture's patches; one that a person had a say in is cut out of the whole."""
    if picture.correction is None:
        return six_view_masks(core.coarse, picture.patches)
    logits = _six_view_logits(core.coarse, picture.patches[:1])[0] / len(SIX_VIEWS) if _needs_coarse(picture) else None
    small = _whole_mask(picture, logits)
    given = picture.correction.mask if picture.correction.source == "given" else None
    whole = resize_mask(small, picture.width, picture.height) if given is None else given
    parts = (whole[box.upper : box.lower, box.left : box.right] for box in picture.boxes)
    return np.stack([resize_mask(part, small.shape[1], small.shape[0]) for part in parts])


def _needs_coarse(picture: Inputs) -> bool:
    return picture.correction is None or picture.correction.packed is None


def _whole_mask(picture: Inputs, logits: Logits | None) -> BoolMasks:
    """Give the coarse mask of the whole picture at the networks' size, s s, from coarse-SN's logits or a person."""
    correction = picture.correction
    if correction is None:
        assert logits is not None
        return logits > 0
    pixels = picture.patches[0]
    given = correction.mask
    start = None if given is None else resize_mask(given, pixels.shape[1], pixels.shape[0])
    if correction.source == "given":
        assert start is not None
        return start
    return corrected_mask(pixels, correction, start if start is not None else logits)
