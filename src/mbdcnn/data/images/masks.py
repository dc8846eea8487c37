"""What makes an image a mask, judged by its pixels: the one rule of `prepare` and of `evaluate --predictions`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from mbdcnn.data.images.kinds import UnusableError
from mbdcnn.data.images.modes import over_black

JPEG = ("JPEG", "MPO")
"""Formats that are lossy and hold masks all the same."""

FAINT = 64
"""Grey levels that skin and lesion must lie apart in a JPEG: masks of 0 and 1 do not survive the compression."""

FEW = 8
"""Values up to which a third one may be a class. Compression and resizing leave more, or none away from edges."""

REACH = 8
"""Pixels from skin and from lesion within which such a value belongs to an edge: the side of a JPEG's block."""

TINY = 16
"""Pixels up to which a value near skin may be more frequent than lesion: the rim of a lesion of a few pixels is."""

NEAR = 1 / 8
"""Part of the way from skin to lesion within which a value counts as one of them."""

Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lesion:
    """What a mask says."""

    image: Image.Image
    """1 bit, set on the lesion."""
    grey: bool = False
    """Whether it held more than two values, as compression and resizing leave at edges, and was cut at half."""


def lesion_in(image: Image.Image) -> Lesion:
    """Read a mask of any mode, whose pixels are loaded.

    Two values, whatever they are, are skin and lesion. The lesion is the brighter one; with a palette of colours (of
    which none is black) it is the higher index; where only transparency tells two parts apart it is the opaque one.
    An image of one value is all skin if that is 0, else all lesion.

    Raises:
        UnusableError: it is a map of more classes, of probabilities, or a photograph.
    """
    if image.mode == "1":
        return Lesion(image)
    if image.has_transparency_data:
        return _with_transparency(image.convert("RGBA"), image.format)
    skin = _skin_index(image) if image.mode == "P" else None
    if skin is not None:
        return Lesion(Image.fromarray(np.asarray(image) != skin))
    return _by_value(_channels(image), image.format)


def _skin_index(image: Image.Image) -> int | None:
    """Name the index of skin in an image with a palette whose colours are but names; None where they say it."""
    used = [index for index, count in enumerate(image.histogram()) if count]
    entries = image.getpalette() or []
    colours = {tuple(entries[3 * index : 3 * index + 3]) for index in used}
    if len(used) > 2:
        return None
    black, grey = any(not any(colour) for colour in colours), all(len({*colour}) == 1 for colour in colours)
    if len(used) == 2 and len(colours) == 2 and (black or grey):
        return None
    return used[0] if len(used) == 2 else 0


def _with_transparency(layer: Image.Image, kind: str | None) -> Lesion:
    opaque = layer.getchannel("A")
    if opaque.getcolors(1):
        return _by_value(_channels(layer.convert("RGB")), kind)
    seen = _channels(over_black(layer).convert("RGB"))
    try:
        # Black ink on a transparent ground shows nothing over black.
        return _by_value(opaque if seen.getcolors(1) else seen, kind)
    except UnusableError as error:
        try:
            # A lesion cut out of its photograph.
            return _by_value(opaque, kind)
        except UnusableError:
            raise error from None


def _channels(image: Image.Image) -> Image.Image:
    """Give one channel where it says all, else RGB."""
    if image.mode in {"L", "F"} or image.mode.startswith("I"):
        return image
    rgb = image.convert("RGB")
    red, green, blue = rgb.split()
    coloured = ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox()
    return rgb if coloured else red


@dataclass(frozen=True)
class _Values:
    """The different values of an image's pixels."""

    table: Floats
    """n by channels."""
    counts: npt.NDArray[np.int64]
    places: npt.NDArray[Any]
    """Height x width: which value each pixel has."""

    @classmethod
    def of(cls, image: Image.Image) -> _Values:
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise UnusableError("holds values that are no numbers; write a mask of 0 and 255")
        if pixels.ndim == 3:
            pixels = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        values, places, counts = np.unique(pixels, return_inverse=True, return_counts=True)
        table = np.stack([values >> 16, values >> 8 & 255, values & 255], 1) if image.mode == "RGB" else values[:, None]
        return cls(table.astype(np.float64), counts, places.reshape(pixels.shape))

    @cached_property
    def ends(self) -> tuple[Floats, Floats]:
        """Skin and lesion: the most frequent value and the one that most of the pixels far from it have."""
        most = self.table[self.counts.argmax()]
        other = self.table[(self.counts * np.square(self.table - most).sum(axis=1)).argmax()]
        weights = np.array([299, 587, 114])[: self.table.shape[1]]
        dark, bright = sorted((most, other), key=lambda value: float(value @ weights))
        return dark, bright

    @cached_property
    def way(self) -> Floats:
        """How far each value has come from skin, 0, to lesion, 1."""
        skin, lesion = self.ends
        return np.asarray((self.table - skin) @ (lesion - skin) / np.square(lesion - skin).sum())

    @cached_property
    def between(self) -> Bools:
        """Which values are near neither end, nor would be if they had come to it straight."""
        skin, lesion = self.ends
        aside = np.abs(self.table - skin - self.way[:, None] * (lesion - skin)).max(axis=1)
        from_end = np.minimum(np.abs(self.way), np.abs(self.way - 1))
        return np.asarray((from_end > NEAR) | (aside > NEAR * np.abs(lesion - skin).max()))


def _by_value(image: Image.Image, kind: str | None) -> Lesion:
    # Nearly all masks; a hundred times as fast as what follows.
    if image.mode == "L" and kind not in JPEG and (colours := image.getcolors(2)):
        first = max(1, *(int(value) for _, value in colours if isinstance(value, int)))
        return Lesion(image.point([0] * first + [255] * (256 - first), "1"))
    values = _Values.of(image)
    if len(values.table) == 1:
        # A black JPEG may have been rounded to 1.
        return Lesion(Image.new("1", image.size, int(values.table.max() >= (128 if kind in JPEG else 1e-9))))
    if kind in JPEG and np.ptp(values.table, axis=0).max() < FAINT:
        raise UnusableError(
            f"a JPEG with less than {FAINT} grey levels between skin and lesion, which its compression blurs; save the "
            "mask as PNG, best with 0 and 255, from what the JPEG was made of"
        )
    marked = (values.way >= 0.5)[values.places]
    if len(values.table) > 2:
        _check_classes(values)
        _check_edges(values, marked)
    return Lesion(Image.fromarray(marked), grey=len(values.table) > 2)


def _check_classes(values: _Values) -> None:
    """Raise an UnusableError if a third value is no edge: few pixels of it lie where skin and lesion meet."""
    if len(values.table) > FEW:
        return
    at_edge = np.logical_and(*(_grown((values.table == end).all(axis=1)[values.places]) for end in values.ends))
    off = np.bincount(values.places[~at_edge], minlength=len(values.table))
    is_end = np.logical_or(*((values.table == end).all(axis=1) for end in values.ends))
    # Near an end there is only what compression leaves, less than what it is left of.
    too_many = ~values.between & (values.counts > max(TINY, values.counts[is_end].min()))
    if (~is_end & ((off > values.counts / 2) | too_many)).any():
        names = ", ".join("/".join(f"{number:g}" for number in value) for value in values.table)
        raise UnusableError(
            f"holds {len(values.table)} classes (values {names}); a mask holds two. Write 255 where the lesion is and "
            "0 on all else"
        )


def _grown(area: Bools) -> Bools:
    return np.asarray(Image.fromarray(area).convert("L").filter(ImageFilter.MaxFilter(2 * REACH + 1)), bool)


def _check_edges(values: _Values, marked: Bools) -> None:
    """Raise an UnusableError unless the pixels between skin and lesion lie at edges, however long these are.

    Their number over the edges' length is how wide edges are: 1 to 5 pixels in masks that were compressed or resized,
    more in maps of probabilities. Of a photograph few pixels have the very values of the ends.
    """
    flat = np.logical_or(*(np.abs(values.table - end).max(axis=1) <= 1 for end in values.ends))
    inside = np.asarray(Image.fromarray(marked).convert("L").filter(ImageFilter.MinFilter(3)), bool)
    edge, grey = np.count_nonzero(marked & ~inside), int(values.counts[values.between].sum())
    side, size = max(marked.shape), marked.size
    narrow = grey <= max(6, side / 100) * max(1, edge) and grey <= max(size / 5, 4 * np.sqrt(size))
    if narrow and values.counts[flat].sum() >= size / 2:
        return
    if values.table.shape[1] == 3:
        raise UnusableError(f"holds {len(values.table)} colours, as a photograph does; name the file of the mask")
    raise UnusableError(
        "has shades of grey beyond edges, as a map of probabilities or a photograph does; a mask holds two values. A "
        "map whose half divides lesion from skin becomes a mask by:",
        "import sys, numpy; from PIL import Image; a = numpy.asarray(Image.open(sys.argv[1])); "
        "Image.fromarray(a > a.max() / 2).save(sys.argv[1])",
    )
