"""Turn a raw data set into `PreparedData`: every image is decoded once, all arrays are written in parallel."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts import RAW, PreparedData, pack, prepared_with
from mbdcnn.artifacts.manifest import SPLITS, Row, write_manifest
from mbdcnn.artifacts.overlap import identical, torn_groups, torn_images
from mbdcnn.artifacts.provenance import fingerprint
from mbdcnn.config import Config
from mbdcnn.data import crops
from mbdcnn.data.alignment import mask_orientations
from mbdcnn.data.contents import LOOKS, content, looks, name_in, renewed, untouched
from mbdcnn.data.images.decoding import decode_at_least, image_size, read_mask
from mbdcnn.data.readers.folders import some
from mbdcnn.data.readers.records import RawData, Record, join
from mbdcnn.data.sources import read_sources
from mbdcnn.data.suspects import MaskLook, lines, refuse_mistakes, suspects
from mbdcnn.errors import UserError
from mbdcnn.system.progress import Progress, silent

LARGE = 50_000_000
"""Pixels; of larger images, which take up to two gigabytes each, one is worked on at a time."""


@dataclass(frozen=True)
class Plan:
    """What will be made of one image, and which rows of the arrays it fills."""

    position: int
    record: Record
    width: int
    height: int
    boxes: list[crops.Box]
    """The unique crops."""
    first_patch: int
    views: tuple[int, ...]
    training_row: int | None
    evaluation_row: int | None
    mask_orientation: int = 1
    """The EXIF orientation the mask is turned by."""


@dataclass(frozen=True)
class Finished:
    """What was found out about one image while preparing it."""

    pixels: str
    """SHA-256 of the image's size and of its first view, the whole of it."""
    profile_ignored: bool
    mask: MaskLook | None


def prepare(
    raw: Path,
    out: Path,
    config: Config,
    progress: Progress = silent,
    *,
    extra: Sequence[Path] = (),
    overwrite: bool = True,
) -> PreparedData:
    """Prepare a raw data set, or give back what lies at `out` if it was made from the same files and settings.

    The same means equal content: where only places or times of the files differ, nothing is made anew.

    Args:
        raw: a folder or CSV file that `read_raw` recognises.
        out: the folder to write.
        config: classes (of tables their own if none are given), sizes and views; `runtime.workers` images are decoded
            at a time.
        progress: told after every image.
        extra: more such folders or files, whose images are added.
        overwrite: replace what was prepared of other files or with other settings at `out`.

    Raises:
        UserError: something is wrong with a file, or other images lie at `out`; nothing is then written.
    """
    config, sources = read_sources((raw, *extra), config)
    found = join(sources)
    settings = prepared_with(config)
    names = ["raw", *(f"extra {number}" for number in range(1, len(sources)))]
    look, given = looks(sources), [str(path.absolute()) for path in (raw, *extra)]
    earlier = untouched(out, settings, look)
    if earlier is not None and earlier.provenance.facts.get(RAW) == given:
        return earlier
    places = {
        record.id: (name, source.root) for name, source in zip(names, sources, strict=True) for record in source.records
    }
    inputs = {name: content(source, config.runtime.workers) for name, source in zip(names, sources, strict=True)}
    # Of several, names tell images apart that name no source.
    inputs |= {name: fingerprint([inputs[name], [source.name for source in sources]]) for name in names[1:]}
    if PreparedData.is_current(out, settings, inputs):
        return renewed(PreparedData.open(out), {RAW: given, LOOKS: look, "notes": found.notes})
    plans = make_plans(found.records, config)
    with PreparedData.writing(out, settings, inputs, overwrite=overwrite) as draft:
        with Writer(draft.path, plans, config) as writer:
            finished = _write_images(writer, plans, config, progress)
        refuse_mistakes([plan.record for plan in plans], [done.mask for done in finished])
        rows = [_row(plan, done, *places[plan.record.id]) for plan, done in zip(plans, finished, strict=True)]
        write_manifest(draft.path / "manifest.csv", rows)
        draft.facts = {RAW: given, LOOKS: look, **_facts(found, rows, plans, finished, config)}
    return PreparedData.open(out)


def make_plans(records: list[Record], config: Config) -> list[Plan]:
    """Assign every image its crops and its rows, from the headers of the files alone.

    Raises:
        UserError: a header is unreadable, or a mask does not fit its image.
    """
    plans: list[Plan] = []
    patches = training = evaluation = 0
    ordered = sorted(records, key=lambda record: (SPLITS.index(record.split), record.id))
    for record, orientation in zip(ordered, mask_orientations(ordered), strict=True):
        width, height = image_size(record.image)
        label = None if record.label is None else config.classes[record.label]
        fractions = crops.fractions_for(config.data.views, label, record.split)
        boxes, order = crops.unique_boxes(crops.view_boxes(width, height, fractions))
        trains = record.split == "train" and record.mask is not None
        evaluates = record.split != "train"
        plan = Plan(
            position=len(plans),
            record=record,
            width=width,
            height=height,
            boxes=boxes,
            first_patch=patches,
            views=tuple(patches + place for place in order),
            training_row=training if trains else None,
            evaluation_row=evaluation if evaluates else None,
            mask_orientation=orientation,
        )
        plans.append(plan)
        patches, training, evaluation = patches + len(boxes), training + trains, evaluation + evaluates
    return plans


class ArrayFile:
    """A `.npy` file of bytes that is filled row by row, in any order and from any thread.

    Not a memory map, because there a full disk kills the process, and here it raises an error.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        self.side = shape[1]
        self.row_bytes = math.prod(shape[1:])
        self.start = path.stat().st_size - shape[0] * self.row_bytes
        self.lock = Lock()
        self.stream = path.open("r+b", buffering=0)

    def write(self, row: int, values: npt.NDArray[np.uint8]) -> None:
        """Fill one row."""
        assert values.nbytes == self.row_bytes
        with self.lock:
            self.stream.seek(self.start + row * self.row_bytes)
            self.stream.write(np.ascontiguousarray(values).data)


class Writer:
    """The files of a prepared data set; every image fills rows of its own."""

    def __init__(self, folder: Path, plans: list[Plan], config: Config) -> None:
        data = config.data
        side, training_side = data.image_size, data.segmentation_size
        self.folder = folder
        self.least_side = crops.least_side(data)
        self.streams = ExitStack()
        self.alone = Lock()
        patches = sum(len(plan.boxes) for plan in plans)
        training = sum(plan.training_row is not None for plan in plans)
        evaluation = sum(plan.evaluation_row is not None for plan in plans)
        self.patches = self._array("patches", patches, side, side, 3)
        self.masks = self._array("masks", len(plans), side, side // 8)
        self.training_images = self._array("training_images", training, training_side, training_side, 3)
        self.training_masks = self._array("training_masks", training, training_side, training_side // 8)
        scales = sorted({scale for scale in data.scales if scale != side})
        self.scales = [self._array(f"scale_{scale}", evaluation, scale, scale, 3) for scale in scales]
        (folder / "truth").mkdir()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self.streams.close()

    def _array(self, name: str, *shape: int) -> ArrayFile:
        array = ArrayFile(self.folder / f"{name}.npy", shape)
        self.streams.callback(array.stream.close)
        return array

    def write(self, plan: Plan) -> Finished:
        """Decode one image and its mask and fill their rows.

        Raises:
            UserError: one of them cannot be decoded.
        """
        with self.alone if plan.width * plan.height > LARGE else nullcontext():
            pixels, profile_ignored = self._write_image(plan)
            mask = None if plan.record.mask is None else self._write_mask(plan, plan.record.mask)
            return Finished(pixels, profile_ignored, mask)

    def _write_image(self, plan: Plan) -> tuple[str, bool]:
        image = decode_at_least(plan.record.image, self.least_side)
        if (image.width, image.height) != (plan.width, plan.height):
            raise UserError(f"{plan.record.image}: its header and its pixels give different sizes; save it again")
        views = crops.views_of_image(image, plan.boxes, self.patches.side)
        for place, view in enumerate(views):
            self.patches.write(plan.first_patch + place, view)
        frame = plan.boxes[0]
        if plan.training_row is not None:
            squashed = crops.squash(image, frame, self.training_images.side)
            self.training_images.write(plan.training_row, squashed)
        if plan.evaluation_row is not None:
            for scale in self.scales:
                scale.write(plan.evaluation_row, crops.squash(image, frame, scale.side))
        digest = hashlib.sha256(f"{plan.width}x{plan.height}".encode() + views[0].tobytes()).hexdigest()
        return digest, image.profile_ignored

    def _write_mask(self, plan: Plan, file: Path) -> MaskLook:
        lesion = read_mask(file, plan.mask_orientation)
        mask = lesion.image
        self.masks.write(plan.position, _squashed_mask(mask, self.masks.side))
        if plan.training_row is not None:
            self.training_masks.write(plan.training_row, _squashed_mask(mask, self.training_masks.side))
        mask.save(self.folder / "truth" / f"{plan.record.id}.png", compress_level=1)
        return MaskLook.of(mask, grey=lesion.grey, turned=plan.mask_orientation != 1)


def _squashed_mask(mask: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    return pack(np.asarray(mask.resize((side, side), Image.Resampling.NEAREST)))


def _write_images(writer: Writer, plans: list[Plan], config: Config, progress: Progress) -> list[Finished]:
    """Run the writer on every image; Pillow and hashlib let go of the interpreter lock, so threads do."""
    finished: list[Finished] = []
    with ThreadPoolExecutor(config.runtime.workers or os.cpu_count() or 1) as pool:
        try:
            for result in pool.map(writer.write, plans):
                finished.append(result)
                progress(len(finished), len(plans))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return finished


def _row(plan: Plan, finished: Finished, source: str, root: Path) -> Row:
    record = plan.record
    name = name_in(root, record.image)
    return Row(
        id=record.id,
        split=record.split,
        label=record.label,
        source=name if source == "raw" else f"{source}/{name}",
        width=plan.width,
        height=plan.height,
        patient=record.patient,
        has_mask=record.mask is not None,
        pixels=finished.pixels,
        views=plan.views,
        training_row=plan.training_row,
        evaluation_row=plan.evaluation_row,
        origin=record.source,
        weight=record.weight,
        shares=record.shares,
        aspect=record.aspect or plan.width / plan.height,
    )


def _facts(
    raw: RawData, rows: list[Row], plans: list[Plan], finished: list[Finished], config: Config
) -> dict[str, Any]:
    names = {row.id: "unlabelled" if row.label is None else config.classes[row.label] for row in rows}
    splits = [split for split in SPLITS if any(row.split == split for row in rows)]
    return {
        "kind": raw.kind,
        "classes": {split: dict(Counter(names[row.id] for row in rows if row.split == split)) for split in splits},
        "with_mask": {split: sum(row.has_mask for row in rows if row.split == split) for split in splits},
        "suspects": suspects(
            [plan.record for plan in plans],
            [done.mask for done in finished],
            [done.pixels for done in finished],
            [done.profile_ignored for done in finished],
        ),
        "identical": [[row.id for row in group] for group in identical(rows)],
        "patients_across_splits": torn_groups(rows),
        "patches": sum(len(set(row.views)) for row in rows),
        "notes": raw.notes,
    }


def summary_lines(data: PreparedData) -> list[str]:
    """Tell in plain words what a prepared data set holds and what in it deserves a look."""
    facts = data.provenance.facts
    told = [f"{len(data.rows)} images from {facts['kind']}, {facts['patches']} views for the classifier"]
    for split, counts in facts["classes"].items():
        total = sum(counts.values())
        named = ", ".join(f"{name} {counts[name]}" for name in (*data.classes, "unlabelled") if name in counts)
        told.append(f"{split}: {total} ({named}); {facts['with_mask'][split]} with a mask")
    told += facts["notes"]
    told += lines(facts["suspects"])
    groups = facts["identical"]
    if groups:
        told.append(f"identical images: {len(groups)} groups ({some([' = '.join(group) for group in groups], 5)})")
    images, patients = torn_images(data.rows), torn_groups(data.rows)
    if images:
        told.append(f"warning: {len(images)} of these groups span splits, which biases results: {some(images, 5)}")
    if patients:
        told.append(
            f"warning: {len(patients)} patients or lesions have images in more than one split, which biases results: "
            f"{some(patients, 5)}"
        )
    return told
