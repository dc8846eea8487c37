"""From images to the arrays that networks learn from."""

from __future__ import annotations

from pathlib import Path

from mbdcnn.data.readers import authors, isic2017, ph2, table
from mbdcnn.data.readers.records import RawData, Record, check_records
from mbdcnn.errors import UserError

__all__ = ["RawData", "Record", "read_raw"]

# The authors' folders come first: their names are those of the official layout with one level more.
_FOLDER_LAYOUTS = (
    (authors.find_root, authors.read),
    (isic2017.find_root, isic2017.read),
    (ph2.find_root, ph2.read),
)
_TABLES = (".csv", ".tsv", ".txt", ".tab", ".xlsx", ".xls")
"""The last two for a message that says how to save them."""


def is_table(path: Path) -> bool:
    """Say whether a path is a file that may be a table of the user's own."""
    return path.is_file() and path.suffix.lower() in _TABLES


def read_raw(path: Path, classes: tuple[str, ...]) -> RawData:
    """Recognise a raw data set's layout and read what it says about each image.

    The split is empty for records of a table that has no such column.

    Args:
        path: a CSV file, or a folder of ISIC-2017, PH2 or the authors' repository.
        classes: class names in label order.

    Raises:
        UserError: it is none of them, or something in it is missing or contradictory.
    """
    raw = _read(path, classes)
    check_records(raw.records, path)
    return raw


def _read(path: Path, classes: tuple[str, ...]) -> RawData:
    if is_table(path):
        return table.read(path, classes)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    for find_root, read in _FOLDER_LAYOUTS:
        root = find_root(path)
        if root is not None:
            return read(root, classes)
    tables = sorted(file for file in path.glob("*") if is_table(file)) if path.is_dir() else []
    meant = f"; if {tables[0].name} lists the images, name it: {tables[0]}" if tables else ""
    raise UserError(
        f"{path}: not a data set that is recognised: a CSV file with the columns image,mask,label, or a folder "
        "with ISIC-2017_Training_Data (or _Validation_, _Test_v2_), 'PH2 Dataset images' or the authors' "
        f"ISIC-2017_Training_Data/Images in it{meant}"
    )
