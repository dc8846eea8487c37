"""Corruptions of dermoscopy images at three severities; the same for the same image's id each time.

Drawn with NumPy and Pillow on the image as it is stored; lengths are shares of its shorter side. Rotation and scale
move the truth along.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

RGBImage: TypeAlias = UInt8[np.ndarray, "h w 3"]
Mask: TypeAlias = Bool[np.ndarray, "h w"]
Plane: TypeAlias = Float[np.ndarray, "h w"]
Colours: TypeAlias = Float[np.ndarray, "h w 3"]
Draw: TypeAlias = Callable[[Colours, np.random.Generator, float], Colours]

FINER = 4
"""Lines are drawn on a canvas so many times larger and averaged."""


class Corruption(NamedTuple):
    """One way to corrupt an image: `strengths`, weakest first, are what `draw` or `move` takes."""

    strengths: tuple[float, float, float]
    unit: str
    """What the strengths mean."""
    draw: Draw | None = None
    move: Callable[[Image.Image, np.random.Generator, float], Image.Image] | None = None
    """Geometry, applied to the truth too."""


def corrupt(image: RGBImage, truth: Mask | None, name: str, level: int, image_id: str) -> tuple[RGBImage, Mask | None]:
    """Corrupt an image and, where the image is moved, its truth.

    Args:
        image: RGB.
        truth: the lesion, of the image's size.
        name: one of `CORRUPTIONS`.
        level: 1 to 3.
        image_id: decides what chance decides; stronger levels draw the same and more.
    """
    corruption = CORRUPTIONS[name]
    strength = float(corruption.strengths[level - 1])
    seed = [zlib.crc32(image_id.encode(errors="surrogateescape")), zlib.crc32(name.encode())]
    if corruption.move is not None:
        move = corruption.move
        moved = move(Image.fromarray(image), np.random.default_rng(seed), strength)
        if truth is None:
            return np.asarray(moved), None
        mask = move(Image.fromarray(truth.astype(np.uint8) * 255), np.random.default_rng(seed), strength)
        return np.asarray(moved), np.asarray(mask) > 127
    assert corruption.draw is not None
    corrupted = corruption.draw(image / 255.0, np.random.default_rng(seed), strength)
    return (corrupted * 255).round().clip(0, 255).astype(np.uint8), truth


def _hair(image: Colours, rng: np.random.Generator, count: float) -> Colours:
    """Lay curved, tapering hairs of one colour over the image, with a soft shadow."""
    height, width = image.shape[:2]
    side, canvas = min(height, width), _Canvas(width, height)
    colour = np.array([0.13, 0.09, 0.07]) * rng.uniform(0.6, 2.2)
    lie = rng.uniform(0, math.pi)
    for _ in range(int(count)):
        angle = lie + rng.normal(0, 0.5)
        middle = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        reach = rng.uniform(0.25, 0.75) * side
        along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
        bends = rng.normal(0, 0.35, 2) * reach
        points = [middle - along * reach, middle - along * reach / 3 + across * bends[0],
                  middle + along * reach / 3 + across * bends[1], middle + along * reach]  # fmt: skip
        canvas.hair(_bezier(np.array(points)), rng.uniform(0.004, 0.011) * side)
    drawn = canvas.plane()
    shadow = _blurred(drawn, 0.008 * side)
    return _over(image * (1 - 0.25 * shadow[..., None]), colour, 0.88 * drawn)


def _ruler(image: Colours, rng: np.random.Generator, reach: float) -> Colours:
    """Print a scale in from one side: ticks at each step, longer ones at each fifth and tenth."""
    height, width = image.shape[:2]
    side, canvas = min(height, width), _Canvas(width, height)
    step, base = side / rng.uniform(22, 30), rng.uniform(0.02, 0.1) * side + max(0.0, reach - 0.12) * side
    start, tilt, edge = rng.uniform(0, step), rng.uniform(-0.05, 0.05), int(rng.integers(0, 2))
    length = width if edge == 0 else height
    for number in range(-10, int(length / step) + 11):
        along = start + number * step
        long = reach * side * (1.0 if number % 10 == 0 else 0.75 if number % 5 == 0 else 0.45)
        near, far = base + tilt * along, base + tilt * along + long
        ends = [(along, height - near), (along + tilt * long, height - far)]
        canvas.line(ends if edge == 0 else [(y - (height - width if edge else 0), x) for x, y in ends], 0.007 * side)
    return _over(image, np.array([0.06, 0.06, 0.07]), 0.88 * _blurred(canvas.plane(), 0.0015 * side))


def _pen(image: Colours, rng: np.random.Generator, amount: float) -> Colours:
    """Mark the skin round the middle with a surgical pen: broken strokes of violet that the skin shows through."""
    height, width = image.shape[:2]
    side, canvas = min(height, width), _Canvas(width, height)
    radius = rng.uniform(0.36, 0.44) * side
    first = rng.uniform(0, 2 * math.pi)
    for number in range(int(amount)):
        angle = first + number * 2 * math.pi / 7 + rng.normal(0, 0.15)
        sweep = np.linspace(angle, angle + rng.uniform(0.25, 0.75), 12)
        wobble = radius * (1 + rng.normal(0, 0.03) + np.cumsum(rng.normal(0, 0.008, 12)))
        points = [
            (width / 2 + r * math.cos(a), height / 2 + r * math.sin(a)) for a, r in zip(sweep, wobble, strict=True)
        ]
        canvas.line(points, rng.uniform(0.022, 0.036) * side)
    blotchy = 0.6 + 0.4 * _clouds(rng, height, width, 0.02 * side) ** 0.5
    ink = _blurred(canvas.plane(), 0.004 * side) * blotchy
    stain = np.array([0.34, 0.20, 0.58])
    marked: Colours = image * (1 - 0.85 * ink[..., None] * (1 - stain))
    return marked


def _vignette(image: Colours, rng: np.random.Generator, radius: float) -> Colours:
    """Darken outside the dermoscope's round field; the edge is the softer the weaker."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    centre = np.array([height, width]) / 2 + rng.normal(0, 0.02, 2) * min(height, width)
    away = np.hypot(y - centre[0], x - centre[1]) / (math.hypot(height, width) / 2)
    softness = 0.05 + 0.5 * max(0.0, radius - 0.75)
    light = 1 / (1 + np.exp(((away - radius) / softness * 4).clip(-50, 50)))
    darkened: Colours = image * (0.03 + 0.97 * light[..., None])
    return darkened


def _bubbles(image: Colours, rng: np.random.Generator, count: float) -> Colours:
    """Put gel bubbles on the skin: a dark and a bright rim, a slight lens, a glint."""
    height, width = image.shape[:2]
    result = image.copy()
    for _ in range(int(count)):
        radius = min(height, width) * min(0.11, 0.014 * math.exp(abs(rng.normal(0, 0.85))))
        row, column, glint = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.2, 0.6)
        rows, columns = (slice(max(0, int(at - 1.5 * radius)), int(at + 1.5 * radius) + 2) for at in (row, column))
        y, x = np.mgrid[:height, :width][:, rows, columns] + 0.5 - np.array([row, column])[:, None, None]
        gain, light = _bubble(y / radius, x / radius, glint)
        result[rows, columns] = result[rows, columns] * (1 + 0.6 * gain[..., None]) + light[..., None]
    return result.clip(0, 1)


def _bubble(y: Plane, x: Plane, glint: float) -> tuple[Plane, Plane]:
    """Give what one bubble multiplies by and adds, from distances to its middle in radii."""
    reach = np.hypot(y, x)
    rim = np.exp(-(((reach - 0.9) / 0.13) ** 2)) * (0.4 - 0.6 * ((y + x) / math.sqrt(2)).clip(-1, 1)).clip(0, 1)
    shade = np.exp(-(((reach - 1.04) / 0.08) ** 2))
    spot = np.exp(-((np.hypot(y + 0.38, x + 0.38) / 0.16) ** 2))
    inside = 1 / (1 + np.exp(((reach - 1) * 25).clip(-50, 50)))
    gain = 0.07 * inside + 0.34 * rim - 0.22 * shade
    return gain, 0.4 * gain.clip(0) + glint * spot


def _blur(image: Colours, rng: np.random.Generator, sigma: float) -> Colours:
    """Put the image out of focus."""
    blurred = Image.fromarray((image * 255).round().astype(np.uint8))
    return np.asarray(blurred.filter(ImageFilter.GaussianBlur(sigma * min(image.shape[:2])))) / 255.0


def _noise(image: Colours, rng: np.random.Generator, sigma: float) -> Colours:
    """Add a sensor's noise: stronger in bright parts, slightly correlated between neighbours."""
    grain = rng.normal(0, 1, image.shape)
    grain = 0.8 * grain + 0.25 * (np.roll(grain, 1, 0) + np.roll(grain, 1, 1))
    return (image + sigma * np.sqrt(0.3 + image) * grain).clip(0, 1)


def _jpeg(image: Colours, rng: np.random.Generator, quality: float) -> Colours:
    """Compress and decompress."""
    file = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file)) / 255.0


def _brightness(image: Colours, rng: np.random.Generator, stops: float) -> Colours:
    """Over- or underexpose, in linear light."""
    exposed: Colours = (image**2.2 * 2.0 ** (stops * rng.choice([-1, 1]))).clip(0, 1) ** (1 / 2.2)
    return exposed


def _cast(image: Colours, rng: np.random.Generator, amount: float) -> Colours:
    """Change the colour of the light: channels gain or lose, brightness stays."""
    hue = rng.uniform(0, 2 * math.pi)
    shift = np.cos(hue + np.array([0, 2, 4]) * math.pi / 3)
    return (image * np.exp(amount * shift)).clip(0, 1)


def _rotate(image: Image.Image, rng: np.random.Generator, degrees: float) -> Image.Image:
    """Turn about the middle; what comes in from outside mirrors what is inside."""
    turn = math.radians(degrees * rng.choice([-1, 1]))
    cosine, sine, (width, height) = math.cos(turn), math.sin(turn), image.size
    x, y = width / 2, height / 2
    return _mapped(image, (cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y))


def _zoom(image: Image.Image, rng: np.random.Generator, factor: float) -> Image.Image:
    """Magnify about the middle, as from nearer by."""
    width, height = image.size
    share = 1 / factor
    return _mapped(image, (share, 0.0, width / 2 * (1 - share), 0.0, share, height / 2 * (1 - share)))


def _mapped(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    margins = ((height, height), (width, width), (0, 0))[: pixels.ndim]
    padded = Image.fromarray(np.pad(pixels, margins, mode="symmetric"))
    a, b, c, d, e, f = matrix
    moved = (a, b, a * -width + b * -height + c + width, d, e, d * -width + e * -height + f + height)
    whole = padded.transform(padded.size, Image.Transform.AFFINE, moved, Image.Resampling.BICUBIC)
    return whole.crop((width, height, 2 * width, 2 * height))


class _Canvas:
    """A black plane, several times finer than the image, to draw white lines on."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.image = Image.new("L", (width * FINER, height * FINER))
        self.draw = ImageDraw.Draw(self.image)

    def line(self, points: list[tuple[float, float]], width: float) -> None:
        """Draw a line of even width with round ends and joints."""
        fine = [(x * FINER, y * FINER) for x, y in points]
        thick = max(1, round(width * FINER))
        self.draw.line(fine, 255, thick, joint="curve")
        for x, y in (fine[0], fine[-1]):
            self.draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), 255)

    def hair(self, points: Float[np.ndarray, "n 2"], width: float) -> None:
        """Draw a line that thins out towards its end."""
        for share, first, second in zip(np.linspace(1, 0.25, len(points) - 1), points[:-1], points[1:], strict=True):
            self.line([tuple(first), tuple(second)], width * share)

    def plane(self) -> Plane:
        """Give the drawing, 0 to 1, at the image's size."""
        drawn: Plane = np.asarray(self.image.resize(self.size, Image.Resampling.BOX)) / 255.0
        return drawn


def _bezier(points: Float[np.ndarray, "4 2"], steps: int = 24) -> Float[np.ndarray, "n 2"]:
    t = np.linspace(0, 1, steps)[:, None]
    curve: Float[np.ndarray, "n 2"] = (
        (1 - t) ** 3 * points[0] + 3 * t * (1 - t) ** 2 * points[1] + 3 * t**2 * (1 - t) * points[2] + t**3 * points[3]
    )
    return curve


def _over(image: Colours, colour: Float[np.ndarray, " 3"], opacity: Plane) -> Colours:
    covered: Colours = image * (1 - opacity[..., None]) + colour * opacity[..., None]
    return covered


def _blurred(plane: Plane, sigma: float) -> Plane:
    image = Image.fromarray((plane * 255).round().clip(0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma))) / 255.0


def _clouds(rng: np.random.Generator, height: int, width: int, grain: float) -> Plane:
    """Smooth chance, 0 to 1."""
    plane = _blurred(rng.uniform(0, 1, (height, width)), grain)
    clouds: Plane = (plane - plane.min()) / max(float(np.ptp(plane)), 1e-9)
    return clouds


CORRUPTIONS = {
    "hair": Corruption((6, 16, 36), "hairs", _hair),
    "ruler": Corruption((0.08, 0.16, 0.3), "length of ticks", _ruler),
    "pen marks": Corruption((2, 4, 7), "strokes", _pen),
    "vignette": Corruption((0.95, 0.8, 0.68), "radius of the field, of half the diagonal", _vignette),
    "gel bubbles": Corruption((12, 30, 70), "bubbles", _bubbles),
    "blur": Corruption((0.006, 0.012, 0.025), "sigma", _blur),
    "noise": Corruption((0.04, 0.08, 0.14), "standard deviation", _noise),
    "JPEG": Corruption((30, 15, 8), "quality", _jpeg),
    "brightness": Corruption((0.5, 1.0, 1.6), "stops", _brightness),
    "colour cast": Corruption((0.06, 0.12, 0.22), "change of the channels", _cast),
    "rotation": Corruption((15, 45, 90), "degrees", move=_rotate),
    "scale": Corruption((1.2, 1.5, 2.0), "times", move=_zoom),
}
