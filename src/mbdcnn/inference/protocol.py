"""How the three networks are applied to an image: `fast`, one view each, and `paper`, the authors' evaluation in full.

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
from mbdcnn.data.crops import Box, squash, unique_boxes, view_boxes, views_of_image
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


class ClassifierOutput(NamedTuple):
    """What the classifier makes of images and their coarse masks."""

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

    def classify(self, pixels: Pixels, masks: BoolMasks) -> ClassifierOutput:
        """Give class logits and activation maps."""

    def enhance(self, pixels: Pixels, activation_maps: Logits) -> Logits:
        """Give mask logits, n 2 h w."""


@dataclass(frozen=True)
class Inputs:
    """One image, resampled to all that a protocol needs."""

    width: int
    height: int
    patches: npt.NDArray[np.uint8]
    """Distinct views of the classifier, u s s 3; the first is the whole image."""
    views: tuple[int, ...]
    """Which patch each of the views is."""
    scales: dict[int, npt.NDArray[np.uint8]]
    """The whole image by side, s s 3."""
    shown: npt.NDArray[np.uint8] | None = None
    """A copy to draw on, h w 3, where one was asked for."""
    profile_ignored: bool = False
    """Whether it has a colour profile that could not be used."""
    boxes: tuple[Box, ...] = ()
    """Which part of the image each patch is; none of one that was prepared."""
    correction: Correction | None = None
    """What a person says of its coarse mask."""
    pixel_spacing: tuple[float, float] | None = None
    """Height and width of a pixel in millimetres, where the file says it."""


@dataclass(frozen=True)
class Classified:
    """What coarse-SN and mask-CN make of one image."""

    view_logits: Logits
    """Class logits of each view, v k."""
    coarse_mask: BoolMasks
    """Of the whole upright image, at the networks' size, s s."""
    activation_map: Logits
    """Of the whole upright image, s/16 s/16."""
    embedding: Logits
    """Pooled features of the whole upright image, c."""


@dataclass(frozen=True)
class Outcome(Classified):
    """What the networks make of one image."""

    scale_logits: tuple[Logits, ...]
    """For each scale, mean over views of lesion minus background logit, s s."""
    width: int
    height: int

    @property
    def mapped_class(self) -> int:
        """Which class the activation map is of: the most probable in the first view, the whole upright image."""
        return int(self.view_logits[0].argmax())

    def lesion_logits(self) -> Logits:
        """Enlarge to the image's own size and average over scales, h w. Large, so not kept."""
        total = np.zeros((self.height, self.width), np.float32)
        for logits in self.scale_logits:
            total += enlarge(logits, self.height, self.width)
        return total / np.float32(len(self.scale_logits))


def inputs_of_image(image: Decoded | Image.Image, settings: Data, protocol: ProtocolName) -> Inputs:
    """Resample an image as `prepare` does, to what a protocol needs.

    Args:
        image: decoded to at least the `least_side` of these settings, or an RGB image with all its pixels.
        settings: how `prepare` was told to.
        protocol: how it will be processed.
    """
    if isinstance(image, Image.Image):
        image = Decoded.whole(image)
    if protocol == "fast":
        settings = settings.model_copy(update={"scales": (), "views": Views(fractions=())})
    distinct, views = unique_boxes(view_boxes(image.width, image.height, settings.views.fractions))
    patches = np.stack(views_of_image(image, distinct, settings.image_size))
    whole = distinct[0]
    scales = {side: squash(image, whole, side) for side in settings.scales if side != settings.image_size}
    scales[settings.image_size] = patches[0]
    return Inputs(image.width, image.height, patches, tuple(views), scales, boxes=tuple(distinct))


def inputs_of_row(data: PreparedData, row: Row, settings: Data) -> Inputs:
    """Read an image that was prepared."""
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
    """Apply the networks to images by one of the two protocols."""
    if protocol == "fast":
        return _fast(core, inputs) if inputs else ()
    return (_paper(core, image) for image in inputs)


def classify_images(core: Core, inputs: Sequence[Inputs], protocol: ProtocolName) -> Iterable[Classified]:
    """Apply the networks to images by one of the two protocols as far as their class, without enhanced-SN."""
    if protocol == "fast":
        return _classify_whole(core, inputs)
    return (_classify_views(core, image) for image in inputs)


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
    logits = lesion_minus_background(core.enhance(_whole_images(inputs), maps))
    return [
        Outcome(**vars(each), scale_logits=(logits[index],), width=image.width, height=image.height)
        for index, (each, image) in enumerate(zip(classified, inputs, strict=True))
    ]


def _paper(core: Core, image: Inputs) -> Outcome:
    classified = _classify_views(core, image)
    original = resize_mask(classified.coarse_mask, image.width, image.height)
    scale_logits = []
    for side, pixels in image.scales.items():
        mask = resize_mask(original, side, side)
        logits = lesion_minus_background(enhanced_logits(core, pixels[None], mask[None]))
        scale_logits.append(logits[0] / len(SIX_VIEWS))
    return Outcome(**vars(classified), scale_logits=tuple(scale_logits), width=image.width, height=image.height)


def _whole_images(inputs: Sequence[Inputs]) -> Pixels:
    return np.stack([image.patches[0] for image in inputs])


def _classify_whole(core: Core, inputs: Sequence[Inputs]) -> list[Classified]:
    pixels = _whole_images(inputs)
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


def _classify_views(core: Core, image: Inputs) -> Classified:
    masks = _view_masks(core, image)
    if len(image.views) == 1:
        # No crops to average over: the six symmetries of the whole image instead, the upright one first.
        guidance = core.classify(all_views(image.patches), all_views(masks))
        views = tuple(range(len(SIX_VIEWS)))
    else:
        guidance, views = core.classify(image.patches, masks), image.views
    return Classified(
        view_logits=guidance.logits[list(views)],
        coarse_mask=masks[0],
        activation_map=guidance.activation_maps[0, 0],
        embedding=guidance.embedding[0],
    )


def _whole_masks(core: Core, inputs: Sequence[Inputs], pixels: Pixels) -> BoolMasks:
    """Give the coarse masks of whole images by one view; coarse-SN is left out where one was given."""
    asked = [place for place, image in enumerate(inputs) if _needs_coarse(image)]
    logits = dict(zip(asked, lesion_minus_background(core.coarse(pixels[asked])), strict=True)) if asked else {}
    return np.stack([_whole_mask(image, logits.get(place)) for place, image in enumerate(inputs)])


def _view_masks(core: Core, image: Inputs) -> BoolMasks:
    """Give the coarse mask of each of an image's patches; one that a person had a say in is cut out of the whole."""
    if image.correction is None:
        return six_view_masks(core.coarse, image.patches)
    logits = _six_view_logits(core.coarse, image.patches[:1])[0] / len(SIX_VIEWS) if _needs_coarse(image) else None
    small = _whole_mask(image, logits)
    given = image.correction.mask if image.correction.source == "given" else None
    whole = resize_mask(small, image.width, image.height) if given is None else given
    parts = (whole[box.upper : box.lower, box.left : box.right] for box in image.boxes)
    return np.stack([resize_mask(part, small.shape[1], small.shape[0]) for part in parts])


def _needs_coarse(image: Inputs) -> bool:
    return image.correction is None or image.correction.packed is None


def _whole_mask(image: Inputs, logits: Logits | None) -> BoolMasks:
    """Give the coarse mask of the whole image at the networks' size, s s, from coarse-SN's logits or a person."""
    correction = image.correction
    if correction is None:
        assert logits is not None
        return logits > 0
    pixels = image.patches[0]
    given = correction.mask
    start = None if given is None else resize_mask(given, pixels.shape[1], pixels.shape[0])
    if correction.source == "given":
        assert start is not None
        return start
    if start is not None:
        return corrected_mask(pixels, correction, start)
    assert logits is not None
    return corrected_mask(pixels, correction, logits)
