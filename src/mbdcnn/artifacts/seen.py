"""Which images a model has seen, told by hashes that give nothing away: `ids.json` of runs and bundles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mbdcnn.artifacts.manifest import Row, hashed_id
from mbdcnn.artifacts.provenance import json_object
from mbdcnn.errors import UserError

OFFICIAL_TWINS = frozenset({"ISIC_0012970", "ISIC_0012127"})
"""Equal images that ISIC-2017 itself has in training and validation: `prepare` tells, nobody refuses its splits."""


@dataclass(frozen=True)
class Seen:
    """Images by the hashes of their ids and of their pixels; models of earlier versions have no pixels."""

    ids: frozenset[str] = frozenset()
    pixels: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Seen:
        """Take images of a prepared data set."""
        rows = list(rows)
        pixels = frozenset(hashed_id(row.pixels) for row in rows if row.pixels)
        return cls(frozenset(hashed_id(row.id) for row in rows), pixels)

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.ids | other.ids, self.pixels | other.pixels)

    def among(self, rows: Iterable[Row]) -> list[Row]:
        """Give the images that are among these, be it under another name."""
        return [row for row in rows if hashed_id(row.id) in self.ids or self._renamed(row)]

    def _renamed(self, row: Row) -> bool:
        return hashed_id(row.pixels) in self.pixels and row.id not in OFFICIAL_TWINS


NOTHING = Seen()


def write_seen(folder: Path, uses: Mapping[str, Seen]) -> None:
    """Write the images of each use, such as `training`, into the folder of a model."""
    ids = {use: sorted(seen.ids) for use, seen in uses.items()}
    pixels = {f"{use}_pixels": sorted(seen.pixels) for use, seen in uses.items()}
    (folder / "ids.json").write_text(json.dumps(ids | pixels, indent=0))


def read_seen(folder: Path, use: str) -> Seen:
    """Read the images of a use; none where the folder says nothing of it.

    Raises:
        UserError: the file is missing or damaged.
    """
    file = folder / "ids.json"
    content = json_object(file)

    def hashes(key: str) -> frozenset[str]:
        found = content.get(key, [])
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise UserError(f"{file}: no lists of ids in it; make its folder again")
        return frozenset(found)

    return Seen(hashes(use), hashes(f"{use}_pixels"))
