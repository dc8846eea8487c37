"""Write the table of the images that the shipped model is trained on: ISIC-2017 and a folder of extra images.

python experiments/shipped_table.py isic2017/ extra/ table.csv

The extra folder holds `images/`, `masks/` and `extra.csv` (docs/data.md says what its columns are). 300 ISIC-2017
training images with ids above 11500 become the split `test`: they are held out of everything, and scored once.
"""

from __future__ import annotations

import argparse
import csv
import os
import zlib
from pathlib import Path

from mbdcnn.config import load_config
from mbdcnn.data import read_raw
from mbdcnn.data.readers.records import Record

CLASSES = load_config().classes
HELD_OUT, FROM_ID = 300, "ISIC_0011500"
LABELS = {"benign_keratosis": "nevus:0.4|seborrheic_keratosis:0.6"}
SOFT_WEIGHT = 0.5
COLUMNS = ("id", "image", "mask", "label", "split", "patient", "source", "weight", "aspect")
ASPECT = 4 / 3
"""Of frames whose own is not known any more."""


def held_out(records: list[Record]) -> set[str]:
    """Choose held-out training images, each class in proportion, by a checksum of the id."""
    late = [record for record in records if record.split == "train" and record.id > FROM_ID]
    chosen: set[str] = set()
    for label in range(len(CLASSES)):
        ids = sorted(
            (record.id for record in late if record.label == label), key=lambda name: zlib.crc32(name.encode())
        )
        chosen |= set(ids[: round(HELD_OUT * len(ids) / len(late))])
    return chosen


def isic2017_rows(folder: Path, start: Path) -> list[dict[str, object]]:
    """Give a row for each ISIC-2017 image."""
    records = read_raw(folder, CLASSES).records
    chosen = held_out(records)
    return [
        {
            "id": record.id,
            "image": os.path.relpath(record.image, start),
            "mask": os.path.relpath(record.mask, start) if record.mask else "",
            "label": "" if record.label is None else CLASSES[record.label],
            "split": "test" if record.id in chosen else record.split,
            "source": "isic2017",
            "aspect": ASPECT,
        }
        for record in records
        if record.split != "test"
    ]


def extra_rows(folder: Path, start: Path) -> list[dict[str, object]]:
    """Give a row for each extra image, all for training."""
    rows: list[dict[str, object]] = []
    with (folder / "extra.csv").open(newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            label = LABELS.get(line["label"], line["label"] if line["label"] in CLASSES else "")
            if not (label or line["mask"]):
                continue
            rows.append(
                {
                    "id": f"{line['source']}_{Path(line['image']).stem}",
                    "image": os.path.relpath(folder / "images" / line["image"], start),
                    "mask": os.path.relpath(folder / "masks" / line["mask"], start) if line["mask"] else "",
                    "label": label,
                    "split": "train",
                    "patient": line["group"],
                    "source": line["source"],
                    "weight": SOFT_WEIGHT if "|" in label else 1,
                    "aspect": line["aspect"] or ASPECT,
                }
            )
    return rows


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isic2017", "extra", "table"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    start = given.table.resolve().parent
    rows = isic2017_rows(given.isic2017.resolve(), start) + extra_rows(given.extra.resolve(), start)
    with given.table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    splits = [row["split"] for row in rows]
    print(f"{given.table}: " + ", ".join(f"{splits.count(name)} {name}" for name in sorted(set(splits))))


if __name__ == "__main__":
    main()
