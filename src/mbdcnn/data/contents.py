"""Whether raw images are the same as before: by their content, or, sooner, by how their files look from outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.provenance import file_digest, fingerprint
from mbdcnn.data.readers.records import RawData
from mbdcnn.errors import UserError
from mbdcnn.system.files import replacing

LOOKS = "raw_files"
"""Fact of prepared data: what `looks` gave when they were last found to be current."""


def looks(sources: Iterable[RawData]) -> str:
    """Fingerprint names, sizes and times of all files: equal means that nothing was touched.

    Raises:
        UserError: a file cannot be read.
    """
    return fingerprint(
        [[_records(raw, _stat), [_opened(file_digest, file) for file in raw.label_files]] for raw in sources]
    )


def content(raw: RawData, workers: int) -> str:
    """Fingerprint what is said of each image, and the content of its files, wherever they lie.

    Raises:
        UserError: a file cannot be read.
    """
    files = [value for record in raw.records for value in vars(record).values() if isinstance(value, Path)]
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        digests = dict(zip(files, pool.map(lambda file: _opened(file_digest, file), files), strict=True))
    return fingerprint(_records(raw, digests.__getitem__))


def name_in(root: Path, file: Path) -> str:
    """Name a file of a raw data set relative to its root; one that a table gives from elsewhere as it is there."""
    place = next((place for place in (root, root.absolute()) if file.is_relative_to(place)), None)
    return (file if place is None else file.relative_to(place)).as_posix()


def untouched(path: Path, settings: dict[str, Any], look: str) -> PreparedData | None:
    """Give the prepared data at `path` if they were made with these settings from files that look so."""
    try:
        data = PreparedData.open(path)
    except UserError:
        return None
    return data if data.provenance.settings == settings and data.provenance.facts.get(LOOKS) == look else None


def renewed(data: PreparedData, facts: dict[str, Any]) -> PreparedData:
    """Change facts of data that were found to be current, so that the files need not be read the next time."""
    provenance = data.provenance.model_copy(update={"facts": data.provenance.facts | facts})
    # Where nothing can be written they are read again.
    with suppress(OSError), replacing(data.path / data.filename) as draft:
        draft.write_text(provenance.as_json(), encoding="utf-8")
    return PreparedData(data.path, provenance)


def _records(raw: RawData, of_file: Callable[[Path], Any]) -> list[dict[str, Any]]:
    def told(value: Any) -> Any:
        return [name_in(raw.root, value), _opened(of_file, value)] if isinstance(value, Path) else value

    records = sorted(raw.records, key=lambda record: record.id)
    return [{key: told(value) for key, value in vars(record).items()} for record in records]


def _stat(file: Path) -> tuple[int, int]:
    status = file.stat()
    # Their content would be waited for, or read, without end.
    if not S_ISREG(status.st_mode):
        raise UserError(f"{file}: a folder, pipe or device, no image file")
    return status.st_size, status.st_mtime_ns


def _opened(of_file: Callable[[Path], Any], file: Path) -> Any:
    try:
        return of_file(file)
    # A link to nothing, or in a circle, stands in a folder like an image.
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
