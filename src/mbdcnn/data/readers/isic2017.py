"""The official layout of the ISIC-2017 challenge, as its zip files unpack."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mbdcnn.data.images.decode import PICTURE_SUFFIXES
from mbdcnn.data.readers.records import RawData, Record, class_index
from mbdcnn.errors import UserError

SPLIT_NAMES = {"train": "ISIC-2017_Training", "validation": "ISIC-2017_Validation", "test": "ISIC-2017_Test_v2"}

POSITIVE = ("melanoma", "seborrheic_keratosis")
"""Columns of the label files; a picture with neither is of the first class."""


def find_root(path: Path) -> Path | None:
    """Find the folder that holds the splits: this one or one just below it."""
    return next((folder for folder in [path, *_subfolders(path)] if _splits(folder)), None)


def read(root: Path, classes: tuple[str, ...]) -> RawData:
    """Read every split that is present.

    Raises:
        UserError: labels are missing, contradictory or without their class in `classes`.
    """
    records: list[Record] = []
    label_files: list[Path] = []
    notes: list[str] = []
    for split in _splits(root):
        name = SPLIT_NAMES[split]
        pictures = find_pictures(_unpacked(root / f"{name}_Data"))
        label_file = root / f"{name}_Part3_GroundTruth.csv"
        labels = read_labels(label_file, classes)
        masks = _unpacked(root / f"{name}_Part1_GroundTruth")
        records += labelled_records(pictures, labels, masks, split, label_file)
        label_files.append(label_file)
        notes += surplus_labels(labels, pictures, label_file)
    return RawData("ISIC-2017", root, records, label_files, notes)


def find_pictures(folder: Path) -> dict[str, Path]:
    """List the pictures of a folder by id, leaving out superpixels, masks and hidden files.

    Raises:
        UserError: there are none, or two with one id.
    """
    pictures: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        hidden = file.name.startswith(".")
        decoy = file.stem.endswith(("_superpixels", "_segmentation"))
        if hidden or decoy or file.suffix.lower() not in PICTURE_SUFFIXES:
            continue
        if file.stem in pictures:
            raise UserError(f"{file}: {pictures[file.stem].name} in the same folder has the same id; remove one")
        pictures[file.stem] = file
    if not pictures:
        raise UserError(f"{folder}: no pictures in it; unpack the zip file of that name here")
    return pictures


def labelled_records(
    pictures: Mapping[str, Path], labels: Mapping[str, int], masks: Path, split: str, label_file: Path
) -> Iterator[Record]:
    """Join pictures with labels and masks by id.

    Raises:
        UserError: a picture has no label.
    """
    for image_id, image in pictures.items():
        if image_id not in labels:
            raise UserError(f"{label_file}: no row for {image_id}, which lies in {image.parent}")
        mask = masks / f"{image_id}_segmentation.png"
        yield Record(image_id, image, mask if mask.is_file() else None, labels[image_id], split)


def surplus_labels(labels: Mapping[str, int], pictures: Mapping[str, Path], label_file: Path) -> list[str]:
    """Say how many labels have no picture."""
    surplus = sorted(labels.keys() - pictures.keys())
    if not surplus:
        return []
    return [f"{label_file.name}: {len(surplus)} of {len(labels)} rows have no picture (first: {surplus[0]})"]


def read_labels(file: Path, classes: tuple[str, ...]) -> dict[str, int]:
    """Read a Part3 label file, official or with the authors' extra column `nodiease`.

    Raises:
        UserError: the file or a column is missing, a value is neither 0 nor 1, or a row names two classes.
    """
    if not file.is_file():
        raise UserError(f"{file}: missing; the labels of the pictures are read from it")
    labels: dict[str, int] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            _check_columns(file, reader.fieldnames or [])
            for row in reader:
                where = f"{file} row {reader.line_num}"
                image_id = (row["image_id"] or "").strip()
                if image_id in labels:
                    raise UserError(f"{where}: {image_id} stands twice")
                labels[image_id] = _label(row, classes, where)
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a text file in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{file}: not CSV: {error}") from None
    return labels


def _check_columns(file: Path, columns: Sequence[str]) -> None:
    missing = [column for column in ("image_id", *POSITIVE) if column not in columns]
    if missing:
        raise UserError(f"{file}: no column {missing[0]}; expected image_id,{','.join(POSITIVE)}")


def _label(row: dict[str, str], classes: tuple[str, ...], where: str) -> int:
    flags = {column: _flag(row[column], column, where) for column in POSITIVE}
    named = [column for column, flag in flags.items() if flag]
    if len(named) > 1:
        raise UserError(f"{where}: both melanoma and seborrheic_keratosis are 1")
    # The column is spelled so in the authors' label files.
    if row.get("nodiease") and _flag(row["nodiease"], "nodiease", where) == bool(named):
        raise UserError(f"{where}: nodiease contradicts the other columns")
    return class_index(named[0], classes, where) if named else 0


def _flag(value: str | None, column: str, where: str) -> bool:
    try:
        number = float(value or "")
    except ValueError:
        number = -1.0
    if number not in {0.0, 1.0}:
        raise UserError(f"{where}: {column} is {value!r}; expected 0 or 1")
    return number == 1.0


def _splits(folder: Path) -> list[str]:
    return [split for split, name in SPLIT_NAMES.items() if (folder / f"{name}_Data").is_dir()]


def _subfolders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir()) if path.is_dir() else []


def _unpacked(folder: Path) -> Path:
    """Step into a folder of the same name, which some programs make when they unpack a zip file."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder
