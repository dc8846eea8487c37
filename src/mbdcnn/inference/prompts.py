"""What a person says of a coarse mask, checked against its image: a mask of their own, clicks and a box."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.data.images.decoding import read_mask
from mbdcnn.data.images.kinds import NAMELESS, UnusableError
from mbdcnn.data.images.masks import lesion_in
from mbdcnn.errors import UserError

MaskLike = str | Path | bytes | Image.Image | npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
CoarseMaskSource = Literal["model", "given", "prompted"]
"""Whose coarse mask it was: coarse-SN's, one that was given, or one of either that clicks or a box moved."""
MOST_POINTS = 30
"""Each takes 25 ms."""
UNNAMED = "coarse mask"
"""What messages call a mask that is no file."""


class Point(NamedTuple):
    """A click."""

    x: float
    y: float
    """In pixels of the image as shown, from its upper left corner."""
    inside: bool
    """Whether it is on the lesion."""


class Rectangle(NamedTuple):
    """A box round the lesion, in pixels of the image as shown; right and lower edge exclusive."""

    left: float
    upper: float
    right: float
    lower: float


@dataclass(frozen=True)
class Correction:
    """What a person says of the coarse mask of one image, once it is known to fit."""

    width: int
    height: int
    """Of the image."""
    packed: npt.NDArray[np.uint8] | None
    """The given mask, eight pixels in a byte: many wait in a server at once."""
    points: tuple[Point, ...]
    box: Rectangle | None

    @property
    def source(self) -> CoarseMaskSource:
        """Whose coarse mask comes of it."""
        return "prompted" if self.points or self.box else "given"

    @property
    def mask(self) -> npt.NDArray[np.bool_] | None:
        """The given mask, height x width."""
        return None if self.packed is None else np.unpackbits(self.packed, axis=1, count=self.width).view(np.bool_)


@dataclass(frozen=True)
class Prompts:
    """What a person says of the coarse mask of one image, as they gave it."""

    mask: MaskLike | None = None
    points: Sequence[Sequence[Any]] | None = None
    box: Sequence[Any] | None = None

    def check(self, width: int, height: int) -> Correction | None:
        """Give it as a correction; None where nothing is said.

        Args:
            width: of the image as shown, in pixels.
            height: likewise.

        Raises:
            UserError: the mask is of another size, empty or no mask; a point lies outside the image; or the box does.
        """
        points = _points([] if self.points is None else self.points, width, height)
        box = None if self.box is None else _box(self.box, width, height)
        if self.mask is None and not points and box is None:
            return None
        packed = None if self.mask is None else np.packbits(_mask(self.mask, width, height), axis=1)
        return Correction(width, height, packed, points, box)


def parse_prompt(name: str, text: str) -> list[Any]:
    """Read `points` or `box` as a list in JSON.

    Raises:
        UserError: it is none.
    """
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        example = "[[120, 80, 1], [30, 40, 0]]" if name == "points" else "[20, 30, 180, 160]"
        raise UserError(f"{name}: not a list in JSON, such as {example}")
    return value


def _mask(mask: MaskLike, width: int, height: int) -> npt.NDArray[np.bool_]:
    name = str(mask) if isinstance(mask, str | Path) else UNNAMED
    found = _decoded(mask)
    if found.shape != (height, width):
        raise UserError(
            f"{name}: {found.shape[1]} x {found.shape[0]} pixels, and its image {width} x {height}; give a mask of "
            "the size of the image as it is shown, turned by its EXIF orientation"
        )
    if not found.any():
        raise UserError(f"{name}: empty; mark the lesion in it, or leave it out for the model's own")
    return found


def _decoded(mask: MaskLike) -> npt.NDArray[np.bool_]:
    if isinstance(mask, np.ndarray):
        if mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8) or not mask.size:
            raise UserError(f"{UNNAMED}: an array of {mask.dtype} {mask.shape}; expected bool or uint8, height x width")
        if mask.dtype == np.bool_:
            return mask.astype(np.bool_, copy=False)
        mask = Image.fromarray(mask)
    if isinstance(mask, Image.Image):
        try:
            mask.load()
            return np.asarray(lesion_in(mask).image)
        except (UnusableError, OSError) as error:
            raise UserError(f"{UNNAMED}: {error}") from None
    if not isinstance(mask, str | bytes | Path):
        raise UserError(f"{type(mask).__name__}: not a mask; give a file, its bytes, a PIL image or a bool array")
    try:
        return np.asarray(read_mask(Path(mask) if isinstance(mask, str) else mask).image)
    except UserError as error:
        # Bytes have no name, and are called after what they mostly are.
        raise UserError(str(error).replace(f"{NAMELESS}:", f"{UNNAMED}:", 1)) from None


def _points(points: Sequence[Sequence[Any]], width: int, height: int) -> tuple[Point, ...]:
    if len(points) > MOST_POINTS:
        raise UserError(f"points: {len(points)} of them; give at most {MOST_POINTS}")
    found, nothing = [], cast("tuple[Any, Any, Any]", (None, None, None))
    for number, point in enumerate(points, start=1):
        x, y, inside = point if _is_list(point) and len(point) == 3 else nothing
        if not (_within(x, width) and _within(y, height) and isinstance(inside, Real | np.bool_) and inside in (0, 1)):
            raise UserError(
                f"points: number {number} is not x, y, inside with 0 <= x < {width}, 0 <= y < {height} and inside 1 or "
                "0; give pixels of the image as it is shown"
            )
        found.append(Point(float(x), float(y), bool(inside)))
    return tuple(found)


def _box(box: Sequence[Any], width: int, height: int) -> Rectangle:
    if _is_list(box) and len(box) == 4:
        left, upper, right, lower = box
        whole = _within(left, width) and _within(upper, height) and _is_number(right) and _is_number(lower)
        if whole and left < right <= width and upper < lower <= height:
            return Rectangle(float(left), float(upper), float(right), float(lower))
    raise UserError(f"box: not x0, y0, x1, y1 with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}; give pixels")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _within(value: Any, length: int) -> bool:
    # False of what is no number too.
    return _is_number(value) and bool(0 <= value < length)
