"""Predictions of millions of images as Parquet tables; what they hold is not made again. Needs the extra `cluster`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from mbdcnn.artifacts import Bundle
from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName, RuntimeChoice
from mbdcnn.inference.prediction import Prediction
from mbdcnn.inference.predictor import Job as Predicting
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.tables import Entry, flat
from mbdcnn.system.files import disk_errors_as_user_errors, make_folder, replacing

ROWS = 1000
"""Of a table, but for the last one of a run."""
KEY = b"mbdcnn"
"""Where a table keeps what decided its rows, as JSON, among its metadata."""
WHOLE_NUMBERS = ("left", "upper", "right", "lower", "area_pixels")
TEXTS = ("file", "decision", "coarse_mask_source", "mask_source", "problem")


@dataclass(frozen=True)
class Job:
    """What decides the rows of all tables in a folder."""

    bundle: Bundle
    protocol: ProtocolName
    runtime: RuntimeChoice
    masks: bool

    def facts(self) -> dict[str, Any]:
        """Give what must not change between the tables of a folder."""
        return {
            "model": self.bundle.provenance.fingerprint,
            "protocol": self.protocol,
            "runtime": self.runtime,
            "choice of masks": self.masks,
        }

    def schema(self) -> pa.Schema:
        """Name the type of each column: left to be guessed, a table without a lesion would have others."""
        points = [point.name for point in self.bundle.operating_points(self.protocol)]
        types = dict.fromkeys(_columns({}, self.bundle.config.classes, points), pa.float64())
        types |= dict.fromkeys(TEXTS, pa.string()) | dict.fromkeys(WHOLE_NUMBERS, pa.int32())
        types |= dict.fromkeys([*points, "looks_like_dermoscopy"], pa.bool_())
        columns = [*types.items(), *([("mask", pa.binary())] if self.masks else [])]
        return pa.schema(columns, {KEY: json.dumps(self.facts()).encode()})


@dataclass
class Tables:
    """The tables `part-NNNNNN.parquet` of a folder, which one process writes; each is there whole or not at all."""

    out: Path
    schema: pa.Schema
    held: pa.Table
    """Column `file` of the tables that were there."""
    number: int
    """Of the next table."""
    written: int = 0
    """Tables."""
    images: int = 0
    """Rows added, of which"""
    problems: int = 0
    """so many could not be read, and"""
    out_of_distribution: int = 0
    """so many do not look like dermoscopy."""
    _waiting: list[pa.Table] = field(default_factory=list)

    @classmethod
    def open(cls, out: Path, job: Job) -> Self:
        """Look at what a folder holds.

        Raises:
            UserError: there are tables of another model, protocol, runtime or choice of masks, or damaged ones.
        """
        make_folder(out)
        files = sorted(out.glob("part-*.parquet"))
        none = pa.table({"file": pa.array([], pa.string())})
        held = pa.concat_tables([none, *(_files_in(file, job.facts()) for file in files)])
        last = max((int(file.stem.removeprefix("part-")) for file in files), default=-1)
        return cls(out, job.schema(), held, last + 1)

    def missing(self, images: Iterable[str]) -> list[bytes]:
        """Give the names of images that have no row yet, each once."""
        names = pa.array(map(os.fsencode, images), pa.large_binary()).unique()
        texts = pa.array((as_text(name.as_py()) for name in names), pa.string())
        there = pc.is_in(texts, value_set=self.held["file"].combine_chunks())
        absent: list[bytes] = names.filter(pc.invert(there)).to_pylist()
        return absent

    def add(self, rows: pa.Table) -> None:
        """Add predicted rows; they are written once there are enough for a table."""
        self._waiting.append(rows)
        self.images += rows.num_rows
        self.problems += rows.num_rows - rows["problem"].null_count
        self.out_of_distribution += pc.sum(pc.equal(rows["looks_like_dermoscopy"], False)).as_py() or 0
        if sum(part.num_rows for part in self._waiting) >= ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows added since the last table."""
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting).cast(self.schema).replace_schema_metadata(self.schema.metadata)
        file = self.out / f"part-{self.number:06}.parquet"
        with disk_errors_as_user_errors(file, kept=True), replacing(file) as draft, draft.open("wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            stream.flush()
            # Before the renaming, or a power failure could leave a whole name on half a table.
            os.fsync(stream.fileno())
        self._waiting.clear()
        self.number += 1
        self.written += 1


def _files_in(file: Path, facts: dict[str, Any]) -> pa.Table:
    try:
        found = json.loads((pq.read_metadata(file).metadata or {}).get(KEY, b"{}"))
        other = next((name for name, value in facts.items() if found.get(name) != value), None)
        if other is None:
            return pq.read_table(file, columns=["file"], partitioning=None).replace_schema_metadata(None)
    except (OSError, pa.ArrowException):
        raise UserError(f"{file}: not a whole Parquet table; remove it, and its images are predicted again") from None
    raise UserError(f"{file}: made with another {other}; choose another folder for the results, or remove it")


def predicted(predictor: Predictor, names: Sequence[str], job: Job) -> pa.Table:
    """Predict images into rows: the columns of `predictions.csv` but `name`, and `mask` with a 1-bit PNG file.

    An image that cannot be read has the reason under `problem`.
    """

    def row(image: Predicting, prediction: Prediction | None) -> Entry:
        found: Entry = {"file": as_text(os.fsencode(str(image.image)))}
        if prediction is None:
            return found | {"problem": as_text(os.fsencode(str(image.problem)))}
        found |= _columns(found | prediction.to_dict(), predictor.classes, list(prediction.decisions))
        return found | ({"mask": _png(prediction)} if job.masks else {})

    rows = predictor.predict_stream(map(Predicting, names), row, job.protocol)
    return pa.Table.from_pylist([*rows], job.schema())


def as_text(name: bytes) -> str:
    """Write the bytes of a name that are no UTF-8 in hexadecimal: Parquet holds only UTF-8."""
    return name.decode(errors="backslashreplace")


def _columns(entry: Entry, classes: Sequence[str], points: Sequence[str]) -> Entry:
    """Give what `predictions.csv` has but the name of the files it goes with."""
    return {name: value for name, value in flat(entry, classes, points).items() if name != "name"}


def _png(prediction: Prediction) -> bytes:
    stream = BytesIO()
    Image.fromarray(prediction.mask).save(stream, "PNG")
    return stream.getvalue()
