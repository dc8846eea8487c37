"""The layout that the authors' scripts expect: `Images` and `Annotation` folders inside each split.

`ISIC-2017_Training_Add_Data/Images` holds the training images once more beside those from the archive that have a
label but no mask.
"""

from __future__ import annotations

from pathlib import Path

from mbdcnn.data.readers.folders import existing
from mbdcnn.data.readers.isic2017 import find_images, labelled_records, read_labels, surplus_labels
from mbdcnn.data.readers.mask_files import find_masks, masks_of_split
from mbdcnn.data.readers.records import RawData, Record
from mbdcnn.errors import UserError

SPLIT_NAMES = {"train": "ISIC-2017_Training", "validation": "ISIC-2017_Validation", "test": "ISIC-2017_Testing"}
EXTENDED = "ISIC-2017_Training_Add"


def find_root(path: Path) -> Path | None:
    """Find the folder that holds the splits: this one, or where the authors' repository keeps it."""
    places = [path, path / "data", path / "dataset" / "data"]
    return next((folder for folder in places if any(_images(folder, name) for name in _names())), None)


def read(root: Path, classes: tuple[str, ...]) -> RawData:
    """Read every split that is present.

    Raises:
        UserError: labels are missing, contradictory or without their class in `classes`.
    """
    records: dict[str, Record] = {}
    label_files: list[Path] = []
    notes: list[str] = []
    for split, name in [*SPLIT_NAMES.items(), ("train", EXTENDED)]:
        folder = _images(root, name)
        if folder is None:
            continue
        images, passed = find_images(folder)
        label_file = _label_file(root, name)
        labels = read_labels(label_file, classes, images)
        mask_folder, said = existing(folder.parent / "Annotation") or folder.parent / "Annotation", list[str]()
        if name == EXTENDED:  # what is new in it has no mask
            masks = find_masks(mask_folder, images).of
        else:
            masks, said = masks_of_split(images, mask_folder, folder.parent)
        for record in labelled_records(images, labels, masks, split, label_file):
            _add(records, record, repeats=name == EXTENDED, label_file=label_file)
        label_files.append(label_file)
        notes += [*passed, *said, *surplus_labels(labels, images, label_file)]
    return RawData("the authors' folders", root, list(records.values()), label_files, notes)


def _add(records: dict[str, Record], record: Record, *, repeats: bool, label_file: Path) -> None:
    earlier = records.setdefault(record.id, record)
    if earlier is record:
        return
    if not repeats or earlier.split != record.split:
        raise UserError(f"{record.id} lies in two splits: {earlier.image} and {record.image}; remove one")
    if earlier.label != record.label:
        raise UserError(f"{label_file}: {record.id} has another label than in the training split's own file")


def _names() -> list[str]:
    return [*SPLIT_NAMES.values(), EXTENDED]


def _images(root: Path, name: str) -> Path | None:
    folder = existing(root / f"{name}_Data" / "Images")
    return folder if folder and folder.is_dir() else None


def _label_file(root: Path, name: str) -> Path:
    """Name a split's labels; the extended file holds those of the training split too."""
    own = root / f"{name}_Part3_GroundTruth.csv"
    extended = root / f"{EXTENDED}_Part3_GroundTruth.csv"
    return extended if name == SPLIT_NAMES["train"] and not own.is_file() and extended.is_file() else own
