"""Share of images that the out-of-distribution score flags, by kind.

The kinds are drawn images that are no dermoscopy, validation images corrupted beyond recognition, and, for
comparison, the validation images of a prepared data set as they are.

    python experiments/out_of_distribution.py --model out/bundle --data out/data
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from mbdcnn.artifacts import PreparedData
from mbdcnn.inference.predictor import Predictor

Random = np.random.Generator
SIZE = (600, 450)
WORDS = ["the", "lesion", "of", "a", "patient", "was", "seen", "in", "clinic", "and", "described", "on", "paper"]


def noise(random: Random) -> Image.Image:
    return Image.fromarray(random.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8))


def blurred_noise(random: Random) -> Image.Image:
    return ImageOps.autocontrast(noise(random).filter(ImageFilter.GaussianBlur(float(random.uniform(2, 12)))))


def gradient(random: Random) -> Image.Image:
    first, last = random.integers(0, 256, (2, 3))
    across, down = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    angle = random.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * across + np.sin(angle) * down
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    return Image.fromarray((first + ramp[..., None] * (last - first)).astype(np.uint8))


def checkerboard(random: Random) -> Image.Image:
    side, (first, last) = random.integers(8, 80), random.integers(0, 256, (2, 3))
    across, down = np.meshgrid(np.arange(SIZE[0]) // side, np.arange(SIZE[1]) // side)
    return Image.fromarray(np.where(((across + down) % 2)[..., None], first, last).astype(np.uint8))


def stripes(random: Random) -> Image.Image:
    across, down = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    angle, period = random.uniform(0, np.pi), random.uniform(6, 80)
    first, last = random.integers(0, 256, (2, 3))
    wave = np.sin((np.cos(angle) * across + np.sin(angle) * down) * 2 * np.pi / period) > 0
    return Image.fromarray(np.where(wave[..., None], first, last).astype(np.uint8))


def text_page(random: Random) -> Image.Image:
    page = Image.new("RGB", SIZE, tuple(int(value) for value in random.integers(225, 256, 3)))
    draw = ImageDraw.Draw(page)
    step = int(random.integers(14, 26))
    for line in range(step, SIZE[1] - step, step):
        draw.text((30, line), " ".join(random.choice(WORDS, 14)), fill=(20, 20, 25), font_size=int(step * 0.7))
    return page


def landscape(random: Random) -> Image.Image:
    sky, ground = random.integers([60, 120, 180], [140, 200, 256]), random.integers([30, 90, 20], [120, 170, 90])
    horizon = int(random.integers(150, 300))
    shade = np.linspace(1.15, 0.85, SIZE[1])[:, None, None]
    rows = np.where((np.arange(SIZE[1]) < horizon)[:, None, None], sky, ground) * shade
    scene = Image.fromarray(np.broadcast_to(rows, (SIZE[1], SIZE[0], 3)).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    for _ in range(random.integers(2, 7)):
        left, wide, high = random.integers(0, 520), random.integers(40, 120), random.integers(40, 140)
        wall = tuple(int(value) for value in random.integers(60, 230, 3))
        draw.rectangle((left, horizon - high, left + wide, horizon + 40), fill=wall)
        draw.polygon([(left, horizon - high), (left + wide, horizon - high), (left + wide // 2, horizon - high - 40)],
                     fill=(120, 40, 30))  # fmt: skip
    for _ in range(random.integers(3, 10)):
        x, y, r = random.integers(0, 600), random.integers(horizon, 450), random.integers(12, 45)
        draw.ellipse((x - r, y - 2 * r, x + r, y), fill=(20, int(random.integers(70, 130)), 30))
    return scene.filter(ImageFilter.GaussianBlur(1))


def clutter(random: Random) -> Image.Image:
    scene = gradient(random)
    draw = ImageDraw.Draw(scene)
    for _ in range(random.integers(12, 50)):
        x, y, wide, high = random.integers([0, 0, 20, 20], [600, 450, 200, 200])
        shape = random.choice([draw.rectangle, draw.ellipse])
        shape((x, y, x + wide, y + high), fill=tuple(int(value) for value in random.integers(0, 256, 3)))
    return scene.filter(ImageFilter.GaussianBlur(float(random.uniform(0.5, 2))))


def radiograph(random: Random) -> Image.Image:
    film = Image.new("L", SIZE, int(random.integers(5, 40)))
    draw = ImageDraw.Draw(film)
    draw.ellipse((120, -60, 480, 520), fill=int(random.integers(90, 150)))
    for side in (170, 330):
        draw.ellipse((side, 60, side + 110, 360), fill=int(random.integers(30, 60)))
    for rib in range(70, 400, int(random.integers(30, 50))):
        draw.arc((130, rib, 470, rib + 90), 190, 350, fill=int(random.integers(150, 210)), width=9)
    grain = random.normal(0, 5, (SIZE[1], SIZE[0]))
    soft = np.asarray(film.filter(ImageFilter.GaussianBlur(6)), float) + grain
    return Image.fromarray(soft.clip(0, 255).astype(np.uint8)).convert("RGB")


def black(random: Random) -> Image.Image:
    return Image.fromarray(random.integers(0, 6, (SIZE[1], SIZE[0], 3), np.uint8))


def white(random: Random) -> Image.Image:
    return Image.fromarray(random.integers(250, 256, (SIZE[1], SIZE[0], 3), np.uint8))


def plain_colour(random: Random) -> Image.Image:
    return Image.new("RGB", SIZE, tuple(int(value) for value in random.integers(0, 256, 3)))


def bare_skin(random: Random) -> Image.Image:
    tone = random.uniform(0.45, 1) * np.array([235, 190, 165])
    skin = tone * (1 + 0.05 * fractal(random)[..., None]) + random.normal(0, 3, (SIZE[1], SIZE[0], 3))
    return Image.fromarray(skin.clip(0, 255).astype(np.uint8))


def fractal(random: Random, power: float = 1.2) -> np.ndarray:
    """Noise whose amplitude falls with frequency, of mean 0 and deviation 1."""
    down, across = np.meshgrid(np.fft.fftfreq(SIZE[1]), np.fft.fftfreq(SIZE[0]), indexing="ij")
    spectrum = np.fft.fft2(random.normal(size=(SIZE[1], SIZE[0]))) / np.maximum(np.hypot(down, across), 1e-3) ** power
    field = np.fft.ifft2(spectrum).real
    return (field - field.mean()) / field.std()


def clouds(random: Random) -> Image.Image:
    channels = np.stack([fractal(random) for _ in range(3)], axis=-1)
    return Image.fromarray((128 + 50 * channels).clip(0, 255).astype(np.uint8))


def grey_clouds(random: Random) -> Image.Image:
    return Image.fromarray((128 + 50 * fractal(random)).clip(0, 255).astype(np.uint8)).convert("RGB")


DRAWN: dict[str, Callable[[Random], Image.Image]] = {
    "noise": noise, "blurred noise": blurred_noise, "gradient": gradient, "checkerboard": checkerboard,
    "stripes": stripes, "text page": text_page, "landscape": landscape, "clutter": clutter,
    "radiograph": radiograph, "black": black, "white": white, "plain colour": plain_colour,
    "bare skin": bare_skin, "clouds": clouds, "grey clouds": grey_clouds,
}  # fmt: skip


def tiles(image: Image.Image) -> Image.Image:
    """Cut an image into sixteen tiles and put them in another order."""
    pixels = np.asarray(image.resize((256, 256)))
    blocks = pixels.reshape(4, 64, 4, 64, 3).swapaxes(1, 2).reshape(16, 64, 64, 3)
    order = np.random.default_rng(0).permutation(16)
    return Image.fromarray(blocks[order].reshape(4, 4, 64, 64, 3).swapaxes(1, 2).reshape(256, 256, 3))


CHANGED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "negative": ImageOps.invert,
    "red and blue swapped": lambda image: Image.fromarray(np.asarray(image)[..., ::-1].copy()),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "shuffled tiles": tiles,
    "heavily blurred": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 16)),
}
"""What may be done to a dermoscopy image so that it is one no longer."""


def kinds(data: PreparedData, count: int, seed: int) -> Iterator[tuple[str, list[Image.Image]]]:
    """Give images by kind, the untouched validation images first."""
    rows = data.split("validation")
    validation = [Image.fromarray(data.patches[row.views[0]]) for row in rows]
    yield "validation images", validation
    for name, change in CHANGED.items():
        yield f"validation, {name}", [change(image) for image in validation[:count]]
    for name, draw in DRAWN.items():
        random = np.random.default_rng(seed)
        yield name, [draw(random) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--out", type=Path, help="table as JSON")
    options = parser.parse_args()
    predictor = Predictor.load(options.model)
    table = []
    for name, images in kinds(PreparedData.open(options.data), options.count, seed=0):
        scores = np.array([predictor.predict(image).ood_score for image in images], float)
        row = {"kind": name, "images": len(scores), "flagged": float((scores > 1).mean())}
        table.append(row | {"median score": float(np.median(scores))})
        print(f"{name:32} {row['flagged']:6.1%}  median score {np.median(scores):6.2f}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
