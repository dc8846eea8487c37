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
from mbdcnn.config import Config, load_config
from mbdcnn.data import crops, read_raw
from mbdcnn.data.prepare import prepare
from mbdcnn.data.records import Record
from mbdcnn.data.synthetic import generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(2592, 1936), metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(
            folder / "raw", {"train": options.pictures * 3 // 4, "validation": options.pictures // 4}, options.size
        )
        for title in ("compact", "paper"):
            config = load_config(title)
            works = {
                "ours": lambda config=config: prepare(folder / "raw", emptied(folder / "data"), config),
                "plain": lambda config=config: plain(folder / "raw", emptied(folder / "png"), config),
            }
            seconds = side_by_side(works, options.repeats)
            apart = difference(PreparedData.open(folder / "data"), folder / "png")
            note = f"{seconds['ours'] / options.pictures:.3f} s a picture; pixels {apart:.2f} grey levels apart"
            rows.append(Row(title, seconds["ours"], seconds["plain"], note=note, target=4))
    width, height = options.size
    print_table(f"prepare, {options.pictures} JPEGs of about {width} x {height}, {os.cpu_count()} cores", rows)


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def plain(raw: Path, out: Path, config: Config) -> None:
    """Write what `prepare` keeps of each picture as PNGs, one after the other."""
    out.mkdir()
    for record in read_raw(raw, config.classes).records:
        _plain_picture(record, out, config)


def _plain_picture(record: Record, out: Path, config: Config) -> None:
    data = config.data
    label = None if record.label is None else config.classes[record.label]
    picture = Image.open(record.image).convert("RGB")
    boxes = crops.view_boxes(*picture.size, crops.fractions_for(data.views, label, record.split))
    size = (data.image_size, data.image_size)
    for number, box in enumerate(boxes):
        picture.crop(box).resize(size, Image.Resampling.BICUBIC).save(out / f"{record.id}_{number}.png")
    scales = {data.segmentation_size} if record.split == "train" else set(data.scales) - {data.image_size}
    for side in scales:
        picture.resize((side, side), Image.Resampling.BICUBIC).save(out / f"{record.id}_whole_{side}.png")
    assert record.mask is not None
    mask = Image.open(record.mask).convert("L").point(lambda value: 255 * (value > 0))
    mask.save(out / f"{record.id}_truth.png")
    for side in {data.image_size, data.segmentation_size if record.split == "train" else data.image_size}:
        mask.resize((side, side), Image.Resampling.NEAREST).save(out / f"{record.id}_mask_{side}.png")


def difference(data: PreparedData, png: Path) -> float:
    """Give the mean difference of the views' pixels from the plain ones, of the picture where it is largest."""
    apart = 0.0
    for row in data.rows:
        plain_views = [np.asarray(Image.open(png / f"{row.id}_{number}.png")) for number in range(len(row.views))]
        own = data.patches[list(row.views)]
        apart = max(apart, float(np.abs(own.astype(np.int16) - np.stack(plain_views)).mean()))
    return apart


if __name__ == "__main__":
    main()
