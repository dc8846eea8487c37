"""Images of the ISIC Archive by id, such as the 1320 that the paper adds to the classifier's training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel

from mbdcnn.config import parse
from mbdcnn.data.download.http import RefusedError, fetch, length, plain, read_json
from mbdcnn.data.images.decoding import IMAGE_SUFFIXES
from mbdcnn.data.readers.ids import ID_COLUMNS, bare
from mbdcnn.errors import UserError
from mbdcnn.system.files import disk_errors_as_user_errors, make_folder, replacing
from mbdcnn.system.progress import Progress, silent
from mbdcnn.system.tables import as_table, identified, read_lines, write_table

API_URL = "https://api.isic-archive.com/api/v2/"
BATCH = 50
"""Ids in one query, whose length servers limit; the addresses it gives are valid for a while only."""
THREADS = 4
_ID = re.compile(r"(ISIC_\d{7})", re.IGNORECASE)

Clinical = Mapping[str, Any]
"""What the archive says about a lesion; diagnoses among it as `diagnosis_1` to `diagnosis_5`, or as `diagnosis`."""


class _File(BaseModel):
    url: str
    size: int


class _Files(BaseModel):
    full: _File


class _Metadata(BaseModel):
    clinical: dict[str, Any] = {}


class _Listed(BaseModel):
    """One result of a search."""

    isic_id: str
    files: _Files
    metadata: _Metadata = _Metadata()


class _Page(BaseModel):
    results: list[_Listed]
    next: str | None = None


@dataclass(frozen=True)
class Extra:
    """What `download_extra` leaves behind."""

    table: Path
    """`images.csv`, in the format of our own tables."""
    classes: Mapping[str, int]
    """Images of each class."""
    left_out: Mapping[str, str]
    """Ids that are not in the table, with the reason."""


def download_extra(ids: Path, folder: Path, *, api: str = API_URL, progress: Progress = silent) -> Extra:
    """Get images of the ISIC Archive and list them for training, those that are here already included.

    Args:
        ids: a text file with an id a line, or a CSV file with a column `isic_id` and, if wanted, `diagnosis_1` to
            `diagnosis_5`, which are used where the archive has none.
        folder: where `images`, `images.csv` and `left_out.csv` go.
        api: address of the archive's API.
        progress: called with the number of images done.

    Raises:
        UserError: the file is not a list of ids, the archive does not answer, the disk is full, nothing is left.
    """
    given = read_ids(ids)
    make_folder(folder / "images")
    labels: dict[Path, str] = {}
    left_out: dict[str, str] = {}
    for image_id, (file, outcome) in zip(given, _images(given, folder / "images", api), strict=True):
        if file is None:
            left_out[image_id] = outcome
        else:
            labels[file] = outcome
        progress(len(labels) + len(left_out), len(given))
    _write(folder / "left_out.csv", ("isic_id", "reason"), left_out.items())
    if not labels:
        first, reason = next(iter(left_out.items()))
        raise UserError(f"{ids}: none of its {len(given)} images can be used ({first}: {reason})")
    rows = [(file.stem, f"images/{file.name}", "", label, "train") for file, label in labels.items()]
    _write(folder / "images.csv", ("id", "image", "mask", "label", "split"), rows)
    return Extra(folder / "images.csv", Counter(labels.values()), left_out)


def read_ids(file: Path) -> dict[str, Clinical]:
    """Read ids, each with what the file says about it.

    Raises:
        UserError: it is no list of ids.
    """
    lines = read_lines(file, known=ID_COLUMNS)
    ids: dict[str, Clinical] = {}
    if lines and not lines[0].plain.isdisjoint(ID_COLUMNS):
        table = as_table(file, lines)
        column, _ = identified(table, ID_COLUMNS, _found_id)
        for row in table.rows:
            ids.setdefault(_id(row.cells[column], row.where), row.cells)
    else:
        for line in lines:
            ids.setdefault(_id(" ".join(filter(None, line.cells)), line.where), {})
    if not ids:
        raise UserError(f"{file}: no ids in it; give one a line, such as ISIC_0000005, or a column isic_id")
    return ids


def class_of(clinical: Clinical) -> str | None:
    """Give the class that a diagnosis in the archive's present or earlier words belongs to; None if to none."""
    levels = _levels(clinical)
    if "(Melanoma)" in levels[1]:
        return "melanoma"
    if any("seborrheic keratosis" in level.casefold() for level in levels):
        return "seborrheic_keratosis"
    if levels[2] == "Nevus":
        return "nevus"
    earlier = str(clinical.get("diagnosis") or "").strip().casefold().replace(" ", "_")
    return earlier if earlier in {"melanoma", "seborrheic_keratosis", "nevus"} else None


def _found_id(cell: str) -> str | None:
    match = _ID.fullmatch(bare(cell))
    return match[1].upper() if match else None


def _id(cell: str, where: str) -> str:
    image_id = _found_id(cell)
    if image_id is None:
        raise UserError(f"{where}: {cell!r} is no id of the ISIC Archive, such as ISIC_0000005")
    return image_id


def _levels(clinical: Clinical) -> list[str]:
    return [str(clinical.get(f"diagnosis_{number}") or "").strip() for number in range(1, 6)]


def _diagnosis(clinical: Clinical) -> str:
    """Give a diagnosis in words, its most exact last."""
    return " / ".join(filter(None, [*_levels(clinical), str(clinical.get("diagnosis") or "")]))


def _images(given: Mapping[str, Clinical], folder: Path, api: str) -> Iterator[tuple[Path | None, str]]:
    """Yield each image with its class, or None with the reason."""
    ids = list(given)
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for start in range(0, len(ids), BATCH):
                batch = ids[start : start + BATCH]
                found = _search(batch, api)
                yield from pool.map(lambda i: _image(found.get(i), given[i], folder), batch)  # noqa: B023
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _search(ids: Sequence[str], api: str) -> dict[str, _Listed]:
    query = " OR ".join(f"isic_id:{image_id}" for image_id in ids)
    url: str | None = f"{api.rstrip('/')}/images/search/?{urlencode({'query': query, 'limit': 100})}"
    found: dict[str, _Listed] = {}
    while url is not None:
        page = parse(_Page, read_json(url), plain(url))
        found |= {image.isic_id: image for image in page.results}
        url = page.next
    return found


def _image(image: _Listed | None, said: Clinical, folder: Path) -> tuple[Path | None, str]:
    if image is None:
        return None, "not in the archive"
    clinical = image.metadata.clinical if _diagnosis(image.metadata.clinical) else said
    label = class_of(clinical)
    if label is None:
        diagnosis = _diagnosis(clinical)
        return None, f"diagnosis: {diagnosis}" if diagnosis else "no diagnosis"
    full = image.files.full
    suffix = PurePosixPath(urlsplit(full.url).path).suffix.lower()
    file = folder / f"{image.isic_id}{suffix if suffix in IMAGE_SUFFIXES else '.jpg'}"
    try:
        if length(file) != full.size:
            fetch(full.url, file, size=full.size)
    except RefusedError as error:
        return None, f"the image is not given out: {error}"
    return file, label


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with disk_errors_as_user_errors(file, kept=True), replacing(file) as part:
        write_table(part, header, rows)
