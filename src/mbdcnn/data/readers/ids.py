"""What a table calls an image: its id, or its file's name or path, in whatever case."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from mbdcnn.data.readers.folders import READABLE_SUFFIXES
from mbdcnn.system.tables import folded

ID_COLUMNS = ("image_id", "id", "name", "image", "isic_id", "file")
"""Names of a column that tells which image a row is about, the likeliest first."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that spreadsheets take for a formula, which can start programs; a quote is put before it."""


class Ids:
    """The ids of some images, found by what an untrusted table calls them."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.exact = set(ids)
        self.folded: dict[str, str | None] = {}
        for name in self.exact:
            self.folded[folded(name)] = None if folded(name) in self.folded else name

    def find(self, cell: str) -> str | None:
        """Give the id that a cell means: as it is, without folder and ending, or in another case if only one is so."""
        names = [cell, *_names(cell)]
        exact = next((name for name in names if name in self.exact), None)
        return exact or next((found for name in names if (found := self.folded.get(folded(name)))), None)


def bare(cell: str) -> str:
    """Give a file's name in a cell without its folder and its ending; anything else as it stands."""
    return _names(cell)[-1]


def _names(cell: str) -> list[str]:
    """Give what an image in that file may be called, led by as many folders as possible at first."""
    name = cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULAS) else cell
    path = PurePosixPath(name.replace("\\", "/"))
    path = path.with_suffix("") if path.suffix.lower() in READABLE_SUFFIXES else path
    parts = [part for part in path.parts if part not in {"/", ".", ".."}]
    return ["_".join(parts[start:]) for start in range(len(parts))] or [name]
