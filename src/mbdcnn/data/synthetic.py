"""A generated dermoscopy data set in the layout of ISIC-2017, for the demo and for tests.

Three classes that differ as the real ones do: nevi are regular ellipses with a fine network, melanomas have notched
outlines, several colours and streaks, seborrheic keratoses a sharp border, cysts and openings. Hair, ruler marks, dark
corners, skin tone and light vary in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from mbdcnn.data.readers.isic2017 import SPLIT_NAMES
from mbdcnn.system.progress import Progress, silent
from mbdcnn.system.tables import write_table

Plane = npt.NDArray[np.float32]
"""One value a pixel, height x width."""
Colours = npt.NDArray[np.float32]
"""RGB in [0, 1], height x width x 3."""

IMAGES_PER_SPLIT = {"train": 240, "validation": 60, "test": 60}
KINDS = ("nevus", "melanoma", "seborrheic_keratosis")
KIND_ORDER = (0, 1, 0, 2)
"""Every run of four images holds two nevi, a melanoma and a seborrheic keratosis."""

_SKIN = np.array([(0.93, 0.76, 0.68), (0.88, 0.69, 0.58), (0.84, 0.62, 0.53), (0.74, 0.55, 0.43), (0.58, 0.40, 0.30)])
_SKIN_CHANCE = (0.32, 0.30, 0.2, 0.12, 0.06)
_BROWN = np.array([(0.62, 0.41, 0.28), (0.50, 0.31, 0.21), (0.38, 0.24, 0.17), (0.28, 0.17, 0.13)])
_WAXY = np.array([(0.67, 0.48, 0.31), (0.57, 0.40, 0.28), (0.47, 0.32, 0.22), (0.35, 0.24, 0.18)])
_MELANOMA_PATCHES = np.array(
    [(0.15, 0.10, 0.10), (0.39, 0.43, 0.53), (0.60, 0.29, 0.25), (0.68, 0.50, 0.36), (0.80, 0.72, 0.68)]
)


@dataclass(frozen=True)
class Field:
    """Coordinates of a lesion: distance from its centre relative to its outline, angle, and pixels from its centre."""

    reach: Plane
    """0 at the centre, 1 on the outline."""
    angle: Plane
    x: Plane
    y: Plane
    radius: float


def generate(
    out: Path,
    images_per_split: Mapping[str, int] = IMAGES_PER_SPLIT,
    size: tuple[int, int] = (192, 144),
    seed: int = 0,
    progress: Progress = silent,
) -> None:
    """Write a data set that `read_raw` recognises as ISIC-2017; the same seed gives the same bytes.

    Args:
        out: the folder to write into.
        images_per_split: how many images in each of `train`, `validation` and `test`.
        size: usual width and height; some images are a little smaller, larger or square.
        seed: what everything is drawn from.
        progress: called with the number of images done.
    """
    done, total = 0, sum(images_per_split.get(split, 0) for split in SPLIT_NAMES)
    for number, (split, name) in enumerate(SPLIT_NAMES.items()):
        count = images_per_split.get(split, 0)
        if count == 0:
            continue
        images, masks = out / f"{name}_Data", out / f"{name}_Part1_GroundTruth"
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for index in range(count):
            image_id = f"SYN_{number}{index:06d}"
            kind = KIND_ORDER[index % len(KIND_ORDER)]
            rng = np.random.default_rng([seed, number, index])
            image, mask = draw(rng, KINDS[kind], _varied(rng, size))
            image.save(images / f"{image_id}.jpg", quality=int(rng.integers(86, 95)))
            mask.save(masks / f"{image_id}_segmentation.png")
            if index < 3:
                _superpixels(image).save(images / f"{image_id}_superpixels.png")
            rows.append((image_id, float(kind == 1), float(kind == 2)))
            done += 1
            progress(done, total)
        write_table(out / f"{name}_Part3_GroundTruth.csv", ("image_id", "melanoma", "seborrheic_keratosis"), rows)
        ages = [(row[0], 30 + index % 50, ("female", "male")[index % 2]) for index, row in enumerate(rows)]
        write_table(images / f"{name}_Data_metadata.csv", ("image_id", "age_approximate", "sex"), ages)


def draw(rng: np.random.Generator, kind: str, size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """Draw one image (RGB) and its mask (8-bit, 0 or 255) of `size`, width and height."""
    width, height = size
    lesion = _lesion(rng, kind, width, height)
    skin = _skin(rng, width, height)
    paint = {"nevus": _nevus, "melanoma": _melanoma, "seborrheic_keratosis": _keratosis}[kind]
    colours, edge = paint(rng, lesion)
    # A lesion is darker than the skin around it, whatever its colours.
    colours *= min(1.0, 0.8 * float(skin.mean()) / float(colours[lesion.reach < 1].mean()))
    strength = rng.uniform(0.72, 1.0)
    cover = np.clip((1 - lesion.reach) / edge + 0.5, 0, 1) * strength
    image = skin + cover[..., None] * (colours - skin)
    image = _photograph(rng, image)
    mask = Image.fromarray(np.where(lesion.reach < 1, 255, 0).astype(np.uint8))
    return image, mask


def _varied(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int]:
    width, height = (round(side * rng.uniform(0.9, 1.15)) for side in size)
    return (height, height) if rng.random() < 0.15 else (width, height)


def _noise(rng: np.random.Generator, width: int, height: int, cell: float) -> Plane:
    """Smooth noise of mean 0 and deviation about 1, whose blobs are `cell` pixels across."""
    across, down = (max(round(side / cell) + 3, 4) for side in (width, height))
    coarse = Image.fromarray(rng.standard_normal((down, across), np.float32))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return smooth * np.float32(1.3)


def _lesion(rng: np.random.Generator, kind: str, width: int, height: int) -> Field:
    """Draw place, size and outline: an ellipse whose radius swings with the angle, most in melanomas."""
    shorter = min(width, height)
    radius = shorter * float(rng.uniform(0.19, 0.40))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x -= width / 2 + shorter * rng.uniform(-0.12, 0.12)
    y -= height / 2 + shorter * rng.uniform(-0.1, 0.1)
    tilt, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.35)
    along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    along, across = along / np.sqrt(stretch), across * np.sqrt(stretch)
    angle = np.arctan2(across, along)
    swing = {"nevus": 0.02, "melanoma": 0.11, "seborrheic_keratosis": 0.045}[kind]
    outline = np.ones_like(x)
    for order in range(2, 9):
        weight = swing * rng.uniform(0.4, 1.2) / np.sqrt(order - 1)
        outline += weight * np.cos(order * angle + rng.uniform(0, 2 * np.pi), dtype=np.float32)
    if kind == "melanoma":
        for _ in range(rng.integers(1, 4)):
            gap = np.angle(np.exp(1j * (angle - rng.uniform(0, 2 * np.pi))))
            outline -= rng.uniform(0.12, 0.3) * np.exp(-((gap / rng.uniform(0.15, 0.3)) ** 2))
    reach = np.hypot(along, across) / (radius * outline)
    return Field(reach.astype(np.float32), angle.astype(np.float32), x, y, radius)


def _skin(rng: np.random.Generator, width: int, height: int) -> Colours:
    base = _SKIN[rng.choice(len(_SKIN), p=_SKIN_CHANCE)] + rng.normal(0, 0.02, 3)
    blotches = 0.018 * _noise(rng, width, height, 30) + 0.012 * _noise(rng, width, height, 5)
    redness = 0.03 * np.clip(_noise(rng, width, height, 22), 0, 2)
    skin = base + blotches[..., None] + redness[..., None] * np.array([0.25, -0.7, -0.6])
    return np.asarray(skin, np.float32)


def _nevus(rng: np.random.Generator, lesion: Field) -> tuple[Colours, Plane | float]:
    """Even brown, darker or lighter towards the centre, under a fine net."""
    height, width = lesion.reach.shape
    base = _BROWN[rng.integers(len(_BROWN))] * rng.uniform(0.9, 1.1)
    centre = rng.uniform(-0.13, 0.12) * np.exp(-((lesion.reach / 0.6) ** 2))
    shade = centre + 0.02 * _noise(rng, width, height, 12) + 0.012 * _noise(rng, width, height, 3)
    shade -= rng.uniform(0.03, 0.1) * _net(rng, lesion) * np.clip(lesion.reach * 1.6, 0, 1)
    return _shaded(base, shade), float(rng.uniform(0.1, 0.28))


def _melanoma(rng: np.random.Generator, lesion: Field) -> tuple[Colours, Plane | float]:
    """Brown with patches of black, blue-grey, red, tan and white, blotchy, with streaks at parts of the border."""
    height, width = lesion.reach.shape
    base = _BROWN[rng.integers(1, len(_BROWN))] * rng.uniform(0.9, 1.1)
    shade = 0.045 * _noise(rng, width, height, lesion.radius / 2) + 0.025 * _noise(rng, width, height, 4)
    colours = _shaded(base, shade)
    for patch in rng.permutation(len(_MELANOMA_PATCHES))[: rng.integers(2, 5)]:
        amount = np.clip(0.6 * _noise(rng, width, height, lesion.radius * 0.7) - 0.1, 0, 0.8)[..., None]
        colours += amount * (_MELANOMA_PATCHES[patch] - colours)
    side = 0.5 + 0.5 * np.cos(lesion.angle + rng.uniform(0, 2 * np.pi))
    rays = np.clip(np.cos(lesion.angle * rng.integers(22, 34) + 1.5 * _noise(rng, width, height, 14)), 0, 1)
    rim = np.exp(-(((lesion.reach - 0.9) / 0.16) ** 2))
    colours -= (rng.uniform(0.1, 0.3) * rays * rim * side)[..., None]
    dots = np.clip(_noise(rng, width, height, 4) - 1.5, 0, 1) * np.clip(lesion.reach * 1.5, 0, 1)
    colours -= (0.25 * dots)[..., None]
    return colours.astype(np.float32), (0.06 + rng.uniform(0.05, 0.25) * side).astype(np.float32)


def _keratosis(rng: np.random.Generator, lesion: Field) -> tuple[Colours, Plane | float]:
    """Waxy yellow to dark brown with a stuck-on rim, bright cysts, dark openings and shallow fissures."""
    height, width = lesion.reach.shape
    base = _WAXY[rng.integers(len(_WAXY))] * rng.uniform(0.9, 1.12)
    folds = np.abs(_noise(rng, width, height, 9))
    shade = 0.03 * _noise(rng, width, height, 7) - 0.10 * np.clip(0.3 - folds, 0, 1) * rng.uniform(0.3, 1.6)
    shade -= rng.uniform(0.02, 0.09) * np.exp(-(((lesion.reach - 0.95) / 0.08) ** 2))
    colours = _shaded(base, shade)
    for tone, most, largest in (((0.93, 0.87, 0.72), 13, 2.2), ((0.17, 0.11, 0.08), 11, 2.8)):
        spots = _spots(rng, lesion, int(rng.integers(3, most)), largest)[..., None]
        colours += spots * rng.uniform(0.5, 0.9) * (np.array(tone) - colours)
    return colours.astype(np.float32), float(rng.uniform(0.03, 0.07))


def _shaded(base: npt.NDArray[np.float64], shade: npt.NDArray[np.floating]) -> Colours:
    return np.asarray(base + shade[..., None] * np.array([1.0, 0.85, 0.7]), np.float32)


def _net(rng: np.random.Generator, lesion: Field) -> Plane:
    """A honeycomb of lines, about 6 pixels a mesh, slightly warped."""
    height, width = lesion.reach.shape
    mesh, turn = 2 * np.pi / rng.uniform(5, 7.5), rng.uniform(0, np.pi)
    x = lesion.x + 1.2 * _noise(rng, width, height, 16)
    y = lesion.y + 1.2 * _noise(rng, width, height, 16)
    waves = [np.cos(mesh * (x * np.cos(turn + k) + y * np.sin(turn + k))) for k in np.arange(3) * np.pi / 3]
    return np.asarray(np.clip(0.5 - sum(waves) / 2, 0, 1), np.float32)


def _spots(rng: np.random.Generator, lesion: Field, count: int, largest: float) -> Plane:
    """Round soft spots scattered over the lesion, 0 to 1."""
    spots = np.zeros_like(lesion.reach)
    distances = lesion.radius * 0.8 * np.sqrt(rng.random(count))
    angles = rng.uniform(0, 2 * np.pi, count)
    sizes = rng.uniform(1.1, largest, count) * lesion.radius / 40 + 0.4
    places = np.stack([distances * np.cos(angles), distances * np.sin(angles), sizes], axis=1)
    for x, y, size in places.tolist():
        spots = np.maximum(spots, np.exp(-((lesion.x - x) ** 2 + (lesion.y - y) ** 2) / size**2))
    return spots


def _photograph(rng: np.random.Generator, colours: Colours) -> Image.Image:
    """Add what lies on the skin and what the camera does: hair, ruler, light, dark corners, blur and noise."""
    height, width = colours.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = 1 + rng.uniform(-0.09, 0.09) * x + rng.uniform(-0.09, 0.09) * y - rng.uniform(0, 0.1) * (x**2 + y**2)
    colours = colours * (light * rng.uniform(0.86, 1.08))[..., None] * rng.uniform(0.96, 1.04, 3)
    image = Image.fromarray((np.clip(colours, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.55:
        _hair(rng, image)
    if rng.random() < 0.15:
        _ruler(rng, image)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    pixels = np.asarray(image).astype(np.float32)
    if rng.random() < 0.3:
        aspect = width / height
        distance = np.hypot(x * max(aspect, 1), y * max(1 / aspect, 1)) / max(aspect, 1 / aspect)
        pixels *= np.clip((rng.uniform(0.98, 1.2) - distance) / 0.05, 0.03, 1)[..., None]
    pixels += rng.normal(0, rng.uniform(0.8, 3.5), (height, width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _hair(rng: np.random.Generator, image: Image.Image) -> None:
    """Draw curved hairs, mostly in one direction, at three times the size so that their edges are smooth."""
    width, height = image.size
    layer = Image.new("L", (width * 3, height * 3))
    pen = ImageDraw.Draw(layer)
    combed, steps = rng.uniform(0, np.pi), np.linspace(-1, 1, 12)
    for _ in range(rng.integers(2, 13)):
        heading = combed + rng.normal(0, 0.35)
        length, bend = rng.uniform(0.2, 0.8) * width * 1.5, rng.normal(0, 0.14) * width
        x = rng.uniform(0, width * 3) + steps * length * np.cos(heading) - steps**2 * bend * np.sin(heading)
        y = rng.uniform(0, height * 3) + steps * length * np.sin(heading) + steps**2 * bend * np.cos(heading)
        points = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
        pen.line(points, fill=int(rng.integers(120, 235)), width=int(rng.integers(2, 5)), joint="curve")
    tone = tuple(int(value) for value in np.array([48, 36, 30]) * rng.uniform(0.4, 1.8))
    image.paste(tone, mask=layer.reduce(3))


def _ruler(rng: np.random.Generator, image: Image.Image) -> None:
    """Draw millimetre marks along one edge, every fifth longer."""
    width, height = image.size
    pen, gap = ImageDraw.Draw(image), float(rng.uniform(7, 11))
    bottom = bool(rng.random() < 0.5)
    for mark in range(int(width / gap) + 1):
        x, length = round(mark * gap), (13 if mark % 5 == 0 else 7) * height // 144
        pen.line([(x, height - length), (x, height)] if bottom else [(x, 0), (x, length)], fill=(45, 42, 46))


def _superpixels(image: Image.Image) -> Image.Image:
    """Make a decoy such as lies among the official images: it must not be taken for one."""
    return image.reduce(12).resize(image.size, Image.Resampling.NEAREST)
