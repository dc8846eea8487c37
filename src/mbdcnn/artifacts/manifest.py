"""The list of images of a prepared data set, `manifest.csv`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

from mbdcnn.errors import UserError
from mbdcnn.system.tables import read_written, write_table

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One image of a prepared data set, as a line of `manifest.csv`."""

    id: str
    split: str
    label: int | None
    """Index into the classes; None where only the mask is known."""
    source: str
    """The image it was prepared from."""
    width: int
    height: int
    """Size of the image in pixels."""
    patient: str | None
    has_mask: bool
    pixels: str
    """SHA-256 of the size and of the whole image at the networks' size: the same if an image is there twice."""
    views: tuple[int, ...]
    """Row of `patches.npy` for each of the classifier's views; the first is the whole image."""
    training_row: int | None
    """Row of the training arrays of the segmentation networks."""
    evaluation_row: int | None
    """Row of the arrays of larger scales."""
    origin: str = ""
    """The collection it comes from, a raw data set's `source`."""
    weight: float = 1.0
    """How often it is drawn in training beside an image of weight 1."""
    shares: tuple[float, ...] | None = None
    """How likely each class is, where the label, the likeliest, is not certain."""
    aspect: float = 1.0
    """Width over height of what the image shows, also where its file had been squashed before."""


def write_manifest(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV; what is unknown stays empty."""
    columns = [column.name for column in fields(Row)]
    write_table(path, columns, ([_cell(getattr(row, name)) for name in columns] for row in rows))


def read_manifest(path: Path) -> list[Row]:
    """Read rows written by `write_manifest`.

    Raises:
        UserError: it is missing, or a line of it is no such row.
    """
    try:
        return [_row(cells) for cells in read_written(path)]
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        raise UserError(f"{path}: missing or damaged; run prepare again") from None


def hashed_id(image_id: str) -> str:
    """Name an image in a shared model without giving its id away."""
    return hashlib.sha256(f"mbdcnn:{image_id}".encode()).hexdigest()[:32]


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _row(cells: dict[str, str]) -> Row:
    def optional(name: str) -> int | None:
        return int(cells[name]) if cells[name] else None

    # Files are named by it, so in an untrusted manifest it must not lead elsewhere.
    if not cells["id"].strip(".") or set(cells["id"]) & set("/\\\0"):
        raise ValueError

    return Row(
        id=cells["id"],
        split=cells["split"],
        label=optional("label"),
        source=cells["source"],
        width=int(cells["width"]),
        height=int(cells["height"]),
        patient=cells["patient"] or None,
        has_mask=cells["has_mask"] == "1",
        pixels=cells["pixels"],
        views=tuple(int(view) for view in cells["views"].split()),
        training_row=optional("training_row"),
        evaluation_row=optional("evaluation_row"),
        origin=cells["origin"],
        weight=float(cells["weight"]),
        shares=tuple(float(share) for share in cells["shares"].split()) or None,
        aspect=float(cells["aspect"]),
    )
