"""The official layout of the ISIC-2017 challenge, as its zip files unpack."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from mbdcnn.data.images.decoding import IMAGE_SUFFIXES
from mbdcnn.data.readers.folders import existing, is_hidden, looks_like_image, some
from mbdcnn.data.readers.ids import ID_COLUMNS, Ids, bare
from mbdcnn.data.readers.mask_files import masks_of_split
from mbdcnn.data.readers.records import RawData, Record, class_index
from mbdcnn.errors import UserError
from mbdcnn.system.tables import Row, folded, identified, number, read_table

SPLIT_NAMES = {"train": "ISIC-2017_Training", "validation": "ISIC-2017_Validation", "test": "ISIC-2017_Test_v2"}

POSITIVE = ("melanoma", "seborrheic_keratosis")
"""Columns of the label files; an image with neither is of the first class."""

_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_DECOYS = ("_superpixels", "_segmentation", "_mask")
"""What lies beside an image and shows something of it."""


def find_root(path: Path) -> Path | None:
    """Find the folder that holds the splits: this one or one just below it."""
    return next((folder for folder in [path, *_subfolders(path)] if _splits(folder)), None)


def read(root: Path, classes: tuple[str, ...]) -> RawData:
    """Read every split that is present.

    Raises:
        UserError: labels are missing, contradictory or without their class in `classes`; or masks are there, but not
            where or as they are called.
    """
    records: list[Record] = []
    label_files: list[Path] = []
    notes: list[str] = []
    used: set[Path] = set()
    for split, folder in _splits(root).items():
        name = SPLIT_NAMES[split]
        images, passed = find_images(_unpacked(folder))
        label_file = _called(root / f"{name}_Part3_GroundTruth.csv")
        labels = read_labels(label_file, classes, images)
        mask_folder = _called(root / f"{name}_Part1_GroundTruth")
        masks, said = masks_of_split(images, _unpacked(mask_folder), root)
        records += labelled_records(images, labels, masks, split, label_file)
        label_files.append(label_file)
        used.add(folder)
        notes += [*passed, *said, *surplus_labels(labels, images, label_file)]
    return RawData("ISIC-2017", root, records, label_files, [*notes, *_not_read(root, used)])


def find_images(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """List the images of a folder by id, and say what looks like one and is left out.

    Superpixels, masks and hidden files are left out without a word.

    Raises:
        UserError: there are none, or two with one id.
    """
    images: dict[str, Path] = {}
    unread: list[str] = []
    for file in sorted(folder.iterdir()):
        if is_hidden(file) or file.stem.lower().endswith(_DECOYS) or not looks_like_image(file):
            continue
        if file.suffix.lower() not in IMAGE_SUFFIXES:
            unread.append(file.name)
            continue
        if file.stem in images:
            raise UserError(f"{file}: {images[file.stem].name} in the same folder has the same id; remove one")
        images[file.stem] = file
    if not images:
        held = f"; {some(unread)} there are of a kind that is not read here: save them as JPEG or PNG" if unread else ""
        raise UserError(f"{folder}: no images in it; unpack the zip file of that name here{held}")
    said = f"{folder.name}: {len(unread)} files not read ({some(unread)}); save them as JPEG or PNG"
    return images, [said] if unread else []


def labelled_records(
    images: Mapping[str, Path], labels: Mapping[str, int], masks: Mapping[str, Path], split: str, label_file: Path
) -> Iterator[Record]:
    """Join images with labels and masks by id.

    Raises:
        UserError: an image has no label.
    """
    for image_id, image in images.items():
        if image_id not in labels:
            raise UserError(f"{label_file}: no row for {image_id}, which lies in {image.parent}")
        yield Record(image_id, image, masks.get(image_id), labels[image_id], split)


def surplus_labels(labels: Mapping[str, int], images: Mapping[str, Path], label_file: Path) -> list[str]:
    """Say how many labels have no image."""
    surplus = sorted(labels.keys() - images.keys())
    if not surplus:
        return []
    return [f"{label_file.name}: {len(surplus)} of {len(labels)} rows have no image (first: {surplus[0]})"]


def read_labels(file: Path, classes: tuple[str, ...], images: Collection[str]) -> dict[str, int]:
    """Read a Part3 label file, official or with the authors' extra column `nodiease`.

    Raises:
        UserError: the file or a column is missing, a value is neither 0 nor 1, or a row names two classes; or no row
            is about any of the images.
    """
    if not file.is_file():
        others = [other.name for other in sorted(file.parent.glob("*.[cCtT][sS][vV]"))]
        there = f"; there are {some(others)}: rename the right one" if others else ""
        raise UserError(f"{file}: missing; the labels of the images are read from it{there}")
    expected = f"image_id,{','.join(POSITIVE)}"
    table = read_table(file, known=(*ID_COLUMNS, *POSITIVE))
    if not table.columns.keys() & set(ID_COLUMNS):
        raise table.lacks("image_id", expected)
    table.need(POSITIVE, expected)
    column, ids = identified(table, ID_COLUMNS, Ids(images).find)
    labels: dict[str, int] = {}
    for row, known in zip(table.rows, ids, strict=True):
        image_id = known or bare(row.cells[column])
        if image_id in labels:
            raise UserError(f"{row.where}: {image_id} is a duplicate")
        labels[image_id] = _label(row, classes)
    if labels and not any(ids):
        raise UserError(
            f"{file}: column {table.columns[column]} names {some(list(labels))}, but the images are called "
            f"{some(list(images))}; no row for any of them"
        )
    return labels


def _label(row: Row, classes: tuple[str, ...]) -> int:
    named = [column for column in POSITIVE if _flag(row, column)]
    if len(named) > 1:
        raise UserError(f"{row.where}: both melanoma and seborrheic_keratosis are 1")
    # The column is spelled so in the authors' label files.
    if row.cells.get("nodiease") and _flag(row, "nodiease") == bool(named):
        raise UserError(f"{row.where}: nodiease contradicts the other columns")
    return class_index(named[0], classes, row.where) if named else 0


def _flag(row: Row, column: str) -> bool:
    cell = row.cells[column]
    value = _WORDS.get(cell.casefold(), number(cell))
    if value not in {0.0, 1.0}:
        raise UserError(f"{row.where}: {column} is {cell!r}; expected 0 or 1")
    return value == 1.0


def _splits(root: Path) -> dict[str, Path]:
    folders = {split: _called(root / f"{name}_Data") for split, name in SPLIT_NAMES.items()}
    return {split: folder for split, folder in folders.items() if folder.is_dir()}


def _called(path: Path) -> Path:
    """Give the file or folder of that name, whatever its case; the name itself if there is none."""
    return existing(path) or path


def _not_read(root: Path, used: Collection[Path]) -> list[str]:
    """Name folders beside the splits that hold images and belong to none."""
    masks = {folded(f"{name}_Part1_GroundTruth") for name in SPLIT_NAMES.values()}
    unused = [folder for folder in _subfolders(root) if folder not in used and folded(folder.name) not in masks]
    others = [folder for folder in unused if any(map(looks_like_image, folder.iterdir()))]
    if not others:
        return []
    wanted = ", ".join(f"{name}_Data" for name in SPLIT_NAMES.values())
    return [f"folders with images that were not read: {some([folder.name for folder in others])}; splits are {wanted}"]


def _subfolders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not is_hidden(folder))


def _unpacked(folder: Path) -> Path:
    """Step into a folder of the same name, which some programs make when they unpack a zip file."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder
