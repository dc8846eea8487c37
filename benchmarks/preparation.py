"""Time of `prepare` on photographs. Baseline: decode, crop, resample and write PNGs one by one."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from harness import Row, print_table, side_by_side
from PIL import Image

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.manifest import Row as ManifestRow
from mbdcnn.config import Config, load_config
from mbdcnn.data import crops, read_raw
from mbdcnn.data.prepare import prepare
from mbdcnn.data.readers.records import Record
from mbdcnn.data.synthetic import generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, help="a data set with masks; JPEGs of --size are generated if not given")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(2592, 1936), metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = options.raw or generated(folder / "raw", options.images, options.size)
        rows = [measured(title, raw, folder, options.repeats) for title in ("compact", "paper")]
    images = options.raw or "JPEGs of about {} x {}".format(*options.size)
    print_table(f"prepare, {images}, {os.cpu_count()} cores", rows)


def generated(raw: Path, images: int, size: tuple[int, int]) -> Path:
    generate(raw, {"train": images * 3 // 4, "validation": images // 4}, size)
    return raw


def measured(title: str, raw: Path, folder: Path, repeats: int) -> Row:
    """Time `prepare` and the plain loop by a configuration, and compare what they wrote."""
    config = load_config(title)
    works = {
        "ours": lambda: prepare(raw, emptied(folder / "data"), config),
        "plain": lambda: plain(raw, emptied(folder / "png"), config),
    }
    seconds = side_by_side(works, repeats)
    data = PreparedData.open(folder / "data")
    apart = [difference(data, row, folder / "png") for row in data.rows]
    note = f"{seconds['ours'] / len(apart):.3f} s an image; pixels {np.mean(apart):.2f} grey levels apart"
    return Row(title, seconds["ours"], seconds["plain"], note=f"{note}, {max(apart):.2f} in the worst one", target=4)


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def plain(raw: Path, out: Path, config: Config) -> None:
    """Write what `prepare` keeps of each image as PNGs, one after the other."""
    out.mkdir()
    for record in read_raw(raw, config.classes).records:
        _plain_image(record, out, config)


def _plain_image(record: Record, out: Path, config: Config) -> None:
    data = config.data
    label = None if record.label is None else config.classes[record.label]
    image = Image.open(record.image).convert("RGB")
    boxes = crops.view_boxes(*image.size, crops.fractions_for(data.views, label, record.split))
    size = (data.image_size, data.image_size)
    for number, box in enumerate(boxes):
        image.crop(box).resize(size, Image.Resampling.BICUBIC).save(out / f"{record.id}_{number}.png")
    scales = {data.segmentation_size} if record.split == "train" else set(data.scales) - {data.image_size}
    for side in scales:
        image.resize((side, side), Image.Resampling.BICUBIC).save(out / f"{record.id}_whole_{side}.png")
    assert record.mask is not None
    mask = Image.open(record.mask).convert("L").point(lambda value: 255 * (value > 0))
    mask.save(out / f"{record.id}_truth.png")
    for side in {data.image_size, data.segmentation_size if record.split == "train" else data.image_size}:
        mask.resize((side, side), Image.Resampling.NEAREST).save(out / f"{record.id}_mask_{side}.png")


def difference(data: PreparedData, row: ManifestRow, png: Path) -> float:
    """Give the mean difference of all pixels kept of an image from the plain ones."""
    kept = {f"{number}": data.patches[view] for number, view in enumerate(row.views)}
    if row.training_row is not None:
        training = data.training_images
        kept[f"whole_{training.shape[1]}"] = training[row.training_row]
    if row.evaluation_row is not None:
        for file in data.path.glob("scale_*.npy"):
            side = int(file.stem.removeprefix("scale_"))
            kept[f"whole_{side}"] = data.scale(side)[row.evaluation_row]
    apart = [
        np.abs(pixels - np.asarray(Image.open(png / f"{row.id}_{name}.png"), np.int16)).ravel()
        for name, pixels in kept.items()
    ]
    return float(np.concatenate(apart).mean())


if __name__ == "__main__":
    main()
