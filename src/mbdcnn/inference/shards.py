"""Predictions of millions of pictures: a Parquet table for every so many, made by processes that never talk.

Needs the extra `tables`. Which process makes which table follows from its number alone, and a table takes its place
when it is whole. So a job that was killed goes on where it stopped, with any number of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prediction import Prediction
from mbdcnn.inference.predictor import Job as Predicting
from mbdcnn.inference.predictor import Predictor, batches
from mbdcnn.inference.tables import Entry, flat
from mbdcnn.system.files import faults_told, make_folder, replacing
from mbdcnn.system.processes import Processes
from mbdcnn.system.progress import Progress, silent

Job = dict[str, Any]
"""What decides the rows of all tables in a folder."""
KEY = b"mbdcnn"
"""Where a table keeps its job, as JSON, among its metadata."""
WHOLE_NUMBERS = ("left", "upper", "right", "lower")
TEXTS = ("file", "decision", "problem")


@dataclass
class Tally:
    """What one process did."""

    tables: int = 0
    """Its tables, of which"""
    found: int = 0
    """so many were there already."""
    pictures: int = 0
    """Predicted now, of which"""
    problems: int = 0
    """so many could not be read, and"""
    unfamiliar: int = 0
    """so many do not look like dermoscopy."""

    def add(self, rows: Sequence[Entry]) -> None:
        """Count the rows of a table."""
        self.pictures += len(rows)
        self.problems += sum(row.get("problem") is not None for row in rows)
        self.unfamiliar += sum(row.get("looks_like_dermoscopy") is False for row in rows)


def predict_shards(
    predictor: Predictor,
    pictures: Iterable[str],
    out: Path,
    size: int,
    protocol: ProtocolName = "fast",
    progress: Progress = silent,
    *,
    masks: bool = True,
    processes: Processes | None = None,
) -> Tally:
    """Predict pictures into `part-NNNNNN.parquet`, one for every `size` of them, but for what is there already.

    One row a picture, in their order: the columns of `predictions.csv` but `name`, and `mask` with a 1-bit PNG file.

    Args:
        predictor: the model.
        pictures: their files; gone through twice.
        out: folder to write.
        size: pictures in a table.
        protocol: how the networks look at them.
        progress: told after each picture how many of this process's pictures are done.
        masks: write masks too.
        processes: which of how many this one is; as `torchrun` or `srun` say if not given.

    Raises:
        UserError: there are no pictures, the first ones or all of them are gone, `out` holds tables of another model,
            runtime or list of pictures, or the disk is full.
    """
    processes = processes or Processes.started()
    count, digest = _count(pictures)
    job: Job = {"model": predictor.bundle.provenance.fingerprint, "protocol": protocol}
    job["runtime"] = predictor.core.runtime
    job |= {"list of pictures": f"{count}, SHA-256 {digest}", "shard size": size, "choice of masks": masks}
    witness = _one_that_is_there(pictures, size)
    make_folder(out)
    _check_same_job(job, out.glob("part-*.parquet"))
    schema = _schema(predictor, protocol, masks).with_metadata({KEY: json.dumps(job).encode()})
    tally, done = Tally(), 0
    total = sum(min(size, count - start) for start in range(processes.rank * size, count, processes.count * size))
    for number, names in enumerate(batches(pictures, size)):
        if number % processes.count != processes.rank:
            continue
        tally.tables += 1
        file = out / f"part-{number:06}.parquet"
        if _check_same_job(job, [file]):
            tally.found += 1
        else:
            rows: list[Entry] = []
            for row in _rows(predictor, names, protocol, masks):
                rows.append(row)
                progress(done + len(rows), total)
            tally.add(rows)
            if tally.problems and not witness.exists():
                raise UserError(f"{witness}: was there and is gone; bring it back and start again, to go on from here")
            with faults_told(file, kept=True):
                _write(pa.Table.from_pylist(rows, schema), file)
        done += len(names)
        progress(done, total)
    return tally


def _count(pictures: Iterable[str]) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    for name in pictures:
        digest.update(os.fsencode(name) + b"\n")
        count += 1
    if not count:
        raise UserError("no pictures: the list is empty")
    return count, digest.hexdigest()


def _one_that_is_there(pictures: Iterable[str], within: int) -> Path:
    """Give the first picture that exists, so that a wrong folder is told before a million rows say so."""
    first = next(batches(pictures, within))
    for name in first:
        if os.path.exists(name):
            return Path(name)
    raise UserError(
        f"{first[0]}: not there, nor any other of the first {len(first)} pictures; relative names start from the "
        "current folder"
    )


def _check_same_job(job: Job, files: Iterable[Path]) -> bool:
    """Say whether one of the files is a whole table of this job; raise a UserError if it is of another."""
    for file in files:
        try:
            metadata = pq.read_metadata(file).metadata or {}
        # Absent, or cut off by whoever copied it: to be made.
        except (OSError, pa.ArrowException):
            continue
        found = json.loads(metadata.get(KEY, b"{}"))
        other = next((name for name, value in job.items() if found.get(name) != value), None)
        if other:
            raise UserError(f"{file}: made with another {other}; choose another folder for the results, or remove it")
        return True
    return False


def _schema(predictor: Predictor, protocol: ProtocolName, masks: bool) -> pa.Schema:
    """Name the type of each column: left to be guessed, a table without a lesion would have others."""
    calibration = predictor.bundle.calibration(protocol)
    points = [point.name for point in calibration.operating_points] if calibration else []
    types = dict.fromkeys(_columns({}, predictor.classes, points), pa.float64())
    types |= dict.fromkeys(TEXTS, pa.string()) | dict.fromkeys(WHOLE_NUMBERS, pa.int32())
    types |= dict.fromkeys([*points, "looks_like_dermoscopy"], pa.bool_())
    return pa.schema([*types.items(), *([("mask", pa.binary())] if masks else [])])


def _columns(entry: Entry, classes: Sequence[str], points: Sequence[str]) -> Entry:
    """Give what `predictions.csv` has but the name of the files it goes with."""
    return {name: value for name, value in flat(entry, classes, points).items() if name != "name"}


def _rows(predictor: Predictor, names: Sequence[str], protocol: ProtocolName, masks: bool) -> Iterator[Entry]:
    def row(job: Predicting, prediction: Prediction | None) -> Entry:
        found: Entry = {"file": _text(str(job.image))}
        if prediction is None:
            return found | {"problem": _text(str(job.problem))}
        found |= _columns(found | prediction.to_dict(), predictor.classes, list(prediction.decisions))
        return found | ({"mask": _png(prediction)} if masks else {})

    return predictor.predict_stream(map(Predicting, names), row, protocol)


def _text(name: str) -> str:
    """Write the bytes of a name that are no UTF-8 in hexadecimal: Parquet holds only UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _png(prediction: Prediction) -> bytes:
    stream = BytesIO()
    Image.fromarray(prediction.mask).save(stream, "PNG")
    return stream.getvalue()


def _write(table: pa.Table, file: Path) -> None:
    with replacing(file) as draft, draft.open("wb") as stream:
        pq.write_table(table, stream, compression="zstd")
        stream.flush()
        # Before the renaming, or a power failure could leave a whole name on half a table.
        os.fsync(stream.fileno())
