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


def read_raw(path: Path, classes: tuple[str, ...]) -> RawData:
    """Recognise a raw data set's layout and read what it says about each image.

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
    if path.is_file() and path.suffix.lower() in _TABLES:
        return table.read(path, classes)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    for find_root, read in _FOLDER_LAYOUTS:
        root = find_root(path)
        if root is not None:
            return read(root, classes)
    raise UserError(
        f"{path}: not a data set that is recognised: a CSV file with the columns image,mask,label,split, or a folder "
        "with ISIC-2017_Training_Data (or _Validation_, _Test_v2_), 'PH2 Dataset images' or the authors' "
        "ISIC-2017_Training_Data/Images in it"
    )
