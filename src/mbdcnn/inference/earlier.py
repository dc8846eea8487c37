"""What an earlier prediction left in a folder."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from mbdcnn.errors import UserError
from mbdcnn.inference.tables import JSON, Entries

MAPS = ("_mask.png", "_coarse.png", "_cam.jpg", "_overlay.jpg")
DICOM = ("_segmentation.dcm", "_report.dcm")
"""Endings of the files that are written of an image."""


def has_results(folder: Path) -> bool:
    """Say whether the results of a finished prediction lie in a folder."""
    return (folder / JSON).is_file()


def free_folder(folder: Path) -> Path:
    """Give the folder, or the first of FOLDER-2, FOLDER-3 and so on without results in it."""
    places = (folder.with_name(f"{folder.name}-{number}") if number > 1 else folder for number in count(1))
    return next(place for place in places if not has_results(place))


def check_free(folder: Path) -> None:
    """Raise a UserError where results lie that would be replaced."""
    if has_results(folder):
        raise UserError(
            f"{folder}: results of an earlier prediction lie there; name another --out, or give --overwrite to replace "
            "them"
        )


def results_in(folder: Path) -> set[Path]:
    """Give the images and DICOM files that the table of an earlier prediction lists and that lie beside it.

    Raises:
        UserError: the table is damaged, so that it is not known what belongs to it.
    """
    if not has_results(folder):
        return set()
    try:
        names = [entry["name"] for entry in Entries(folder / JSON, 0)]
        # An untrusted table might name files elsewhere.
        listed = [folder / f"{name}{ending}" for name in names if Path(name).name == name for ending in (*MAPS, *DICOM)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{folder / JSON}: damaged; name another --out, or remove {folder}") from None
    return {file for file in listed if file.is_file()}
