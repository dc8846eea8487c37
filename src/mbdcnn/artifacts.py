"""The folders that pass between stages: what they hold, how they were made, and whether they are whole.

A folder is written beside its final place and renamed when complete, so a half-written one is never met.
Its JSON file says what it is, from which settings and inputs it was made, and the checksum of each file.
Importing this module does not import torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

import mbdcnn
from mbdcnn.calibration import Calibration, read_calibration
from mbdcnn.config import Config, load_config, parse
from mbdcnn.disk import exclusive, faults_told, make_folder, replace_folder
from mbdcnn.errors import UserError
from mbdcnn.manifest import Row, read_manifest
from mbdcnn.provenance import Provenance, file_digest, fingerprint, json_object, tools
from mbdcnn.seen import Seen, read_seen

Bytes = npt.NDArray[np.uint8]


EDITABLE = {"README.md"}
"""Files of an artefact that may be changed later: a hub folder's model card is there to be written on."""


def pack(masks: npt.NDArray[np.bool_]) -> Bytes:
    """Store eight mask pixels in a byte; the last axis must be a multiple of 8."""
    return np.packbits(masks, axis=-1)


def unpack(packed: Bytes) -> npt.NDArray[np.bool_]:
    """Undo `pack`."""
    return np.unpackbits(packed, axis=-1).view(np.bool_)


@dataclass(frozen=True)
class Artifact:
    """A validated folder."""

    path: Path
    provenance: Provenance

    filename: ClassVar[str]
    version: ClassVar[int]

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Self:
        """Validate a folder and give access to it.

        Args:
            path: the folder.
            verify: also compare every checksum, and that of the list of checksums.

        Raises:
            UserError: it is not a complete, untouched folder of this kind and version.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: no such {cls.__name__} folder")
        provenance = cls._read(path)
        if verify and provenance.fingerprint != cls._fingerprint_of(provenance):
            raise UserError(f"{path / cls.filename}: damaged: its content and its fingerprint differ; make it again")
        for name, digest in provenance.files.items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                raise UserError(f"{path}: damaged {cls.__name__}: {name} is missing; make it again")
            if verify and file_digest(file) != digest:
                raise UserError(f"{file}: damaged: its checksum is not the one in {cls.filename}; make it again")
        return cls(path, provenance)

    @classmethod
    def _fingerprint_of(cls, said: Provenance) -> str:
        return fingerprint([cls.identity_of(said.settings, said.inputs), said.files])

    @classmethod
    def _read(cls, path: Path) -> Provenance:
        file = path / cls.filename
        if not file.is_file():
            raise UserError(f"{path}: not a {cls.__name__} folder ({cls.filename} is missing)")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise UserError(f"{file}: not JSON; make the folder again") from None
        if not isinstance(content, dict) or not {"kind", "version"} <= content.keys():
            raise UserError(f"{file}: not written by mbdcnn; name a {cls.__name__} folder")
        # Before all else, because another version may hold other keys.
        if content["kind"] != cls.__name__:
            raise UserError(f"{path}: a {content['kind']} folder where a {cls.__name__} is needed")
        if content["version"] != cls.version:
            raise UserError(
                f"{path}: {cls.__name__} format {content['version']}, this is mbdcnn {mbdcnn.__version__} with "
                f"format {cls.version}; make it again"
            )
        return parse(Provenance, content, str(file))

    @classmethod
    def identity_of(cls, settings: dict[str, Any], inputs: dict[str, str]) -> str:
        """Fingerprint of what an artefact of this version would be made from."""
        return fingerprint([cls.__name__, cls.version, settings, inputs])

    @classmethod
    def is_current(cls, path: Path, settings: dict[str, Any], inputs: dict[str, str]) -> bool:
        """Say whether a whole folder made from just these settings and inputs lies at `path`."""
        try:
            return cls.open(path).provenance.identity == cls.identity_of(settings, inputs)
        except UserError:
            return False

    @classmethod
    @contextmanager
    def writing(
        cls, path: Path, settings: dict[str, Any], inputs: dict[str, str], *, keep: bool = False
    ) -> Iterator[Draft]:
        """Give a draft folder beside `path` that takes its place once the block ends without an error.

        Args:
            path: where the artefact will lie; an artefact of the same kind there is replaced.
            settings: what it is made with.
            inputs: fingerprints of what it is made from.
            keep: continue an earlier draft and keep this one on error, for work that can resume.

        Raises:
            UserError: something else lies at `path`, another process is writing it, or the disk is full or cannot be
                written.
        """
        cls._check_replaceable(path)
        draft = Draft(draft_path(path))
        with exclusive(path.resolve()), faults_told(path, kept=keep):
            if not keep:
                shutil.rmtree(draft.path, ignore_errors=True)
            make_folder(draft.path)
            try:
                yield draft
                cls._seal(draft, settings, inputs)
            except BaseException:
                if not keep:
                    shutil.rmtree(draft.path, ignore_errors=True)
                raise
            replace_folder(path.resolve(), draft.path)

    def copy_to(self, path: str | Path) -> Self:
        """Copy the folder to `path`, where an artefact of the same kind is replaced.

        Raises:
            UserError: something else lies there, or the disk is full or cannot be written.
        """
        path, draft = Path(path), draft_path(Path(path))
        self._check_replaceable(path)
        with exclusive(path.resolve()), faults_told(path):
            shutil.rmtree(draft, ignore_errors=True)
            try:
                # Without what others keep in hidden folders, such as the hub's tools.
                shutil.copytree(self.path, draft, ignore=shutil.ignore_patterns(".*"))
                replace_folder(path.resolve(), draft)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        return self.open(path, verify=True)

    @classmethod
    def _check_replaceable(cls, path: Path) -> None:
        if path.resolve() == Path.cwd():
            raise UserError(f"{path}: the folder you are in; name a new folder, which will be made whole")
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return
        if not path.is_dir() or not (path / cls.filename).is_file():
            raise UserError(f"{path}: exists and is not a {cls.__name__} folder; choose another place or remove it")

    @classmethod
    def _seal(cls, draft: Draft, settings: dict[str, Any], inputs: dict[str, str]) -> None:
        identity = cls.identity_of(settings, inputs)
        names = {file.name for file in draft.path.iterdir() if file.is_file()} - {cls.filename, *EDITABLE}
        files = {name: file_digest(draft.path / name) for name in sorted(names)}
        provenance = Provenance(
            kind=cls.__name__,
            version=cls.version,
            identity=identity,
            fingerprint=fingerprint([identity, files]),
            settings=settings,
            inputs=inputs,
            facts=draft.facts,
            files=files,
            tools=tools(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (draft.path / cls.filename).write_text(provenance.as_json(), encoding="utf-8")


@dataclass
class Draft:
    """A folder being written."""

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    """What will be recorded of the result, such as counts and scores."""


def draft_path(path: Path) -> Path:
    """Where an artefact is written before it is complete: beside it, or beside what a link there points to."""
    return path.resolve().with_name(f".{path.resolve().name}.partial")


def prepared_with(config: Config) -> dict[str, Any]:
    """Give the settings that decide what prepared data hold."""
    return {"classes": list(config.classes), "data": config.data.model_dump(mode="json")}


class PreparedData(Artifact):
    """Pictures as arrays that training and evaluation read without decoding.

    `manifest.csv` lists the images. `patches.npy` holds the classifier's views, `training_images.npy` and
    `training_masks.npy` the squashed training pictures and masks of the segmentation networks, `scale_S.npy` the
    validation and test pictures at S x S pixels, `masks.npy` every mask at the networks' size and `truth/ID.png` at
    the picture's own.
    """

    filename = "prepared.json"
    version = 1

    @cached_property
    def rows(self) -> list[Row]:
        """Every image, in the order of the manifest."""
        return read_manifest(self.path / "manifest.csv")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(self.provenance.settings["classes"])

    def check_made_with(self, config: Config, name: str = "the configuration given") -> None:
        """Raise a UserError unless classes and sizes are those of a configuration, which `name` names."""
        wanted = prepared_with(config)
        for section in ("classes", "data"):
            if self.provenance.settings[section] != wanted[section]:
                raise UserError(
                    f"{self.path}: prepared with another `{section}` than that of {name}; prepare again with it, "
                    "or give the configuration that was prepared with"
                )

    def split(self, name: str) -> list[Row]:
        """Give the images of one split.

        Raises:
            UserError: there are none.
        """
        rows = [row for row in self.rows if row.split == name]
        if not rows:
            present = ", ".join(sorted({row.split for row in self.rows}))
            raise UserError(f"{self.path}: no {name} images (it has {present})")
        return rows

    @cached_property
    def patches(self) -> Bytes:
        """Views of the classifier, patches x side x side x 3."""
        return self._array("patches")

    @cached_property
    def training_images(self) -> Bytes:
        """Squashed training pictures, rows x side x side x 3."""
        return self._array("training_images")

    @cached_property
    def training_masks(self) -> Bytes:
        """Their packed masks, rows x side x side / 8."""
        return self._array("training_masks")

    @cached_property
    def masks(self) -> Bytes:
        """Packed masks at the networks' size, one for every line of the manifest (empty where there is none)."""
        return self._array("masks")

    def scale(self, side: int) -> Bytes:
        """Pictures of validation and test at `side` x `side`, by `evaluation_row`."""
        return self._array(f"scale_{side}")

    def truth(self, row: Row) -> npt.NDArray[np.bool_]:
        """Read a mask at its picture's own size."""
        file = self.path / "truth" / f"{row.id}.png"
        try:
            with Image.open(file) as mask:
                return np.asarray(mask.convert("L")) > 0
        except (OSError, SyntaxError):
            raise UserError(f"{file}: missing or damaged; run prepare again") from None

    def _array(self, name: str) -> Bytes:
        return _mapped(self.path / f"{name}.npy")


class MaskSet(Artifact):
    """A coarse mask for every patch of a prepared data set: `patches.npy`, packed, patches x side x side / 8."""

    filename = "masks.json"
    version = 1

    @cached_property
    def patches(self) -> Bytes:
        """Packed coarse masks in the order of the data's patches."""
        return _mapped(self.path / "patches.npy")


class Trained(Artifact):
    """A folder of trained weights, with what they were trained with and on."""

    @cached_property
    def config(self) -> Config:
        """What it was trained with."""
        return load_config(self.path)

    def seen(self, use: str) -> Seen:
        """Give the images used for `training`, `selection` or, by a bundle, `calibration`."""
        return read_seen(self.path, use)

    def ids(self, use: str) -> set[str]:
        """Give the hashed ids of these."""
        return set(self.seen(use).ids)


class Run(Trained):
    """One trained network: `best.safetensors` and `last.safetensors`, the resolved `config.yaml`, `metrics.csv`."""

    filename = "run.json"
    version = 1

    @property
    def stage(self) -> str:
        """`coarse`, `classifier` or `enhanced`."""
        return str(self.provenance.settings["stage"])

    @property
    def fold(self) -> tuple[int, int] | None:
        """The fold of the training images it did not see, as number and count of folds; None if there is none."""
        fold = self.provenance.settings.get("fold")
        return None if fold is None else (fold[0], fold[1])

    @property
    def weights(self) -> Path:
        """The weights that did best on validation."""
        return self.path / "best.safetensors"

    @classmethod
    def open_stage(cls, path: str | Path, stage: str) -> Self:
        """Open a run of one stage.

        Raises:
            UserError: it is the run of another stage.
        """
        run = cls.open(path)
        if run.stage != stage:
            raise UserError(f"{path}: a run of the {run.stage} network where one of the {stage} network is needed")
        return run

    def check_whole(self) -> None:
        """Raise a UserError if it was imported from a file without part of the network, and so only starts training."""
        initial = self.provenance.facts.get("initial")
        if initial:
            raise UserError(
                f"{self.path}: {len(initial)} of its tensors, such as {initial[0]}, were not in the imported file and "
                f"are as initialised; train the network from it first ({self.stage}.initial_weights={self.path})"
            )


class Bundle(Trained):
    """The three networks with all that prediction needs, laid out as a Hugging Face hub folder."""

    filename = "config.json"
    version = 1

    def weights(self, stage: str) -> Path:
        """Weights of the `coarse`, `classifier` or `enhanced` network."""
        return self.path / f"{stage}.safetensors"

    def calibration(self, protocol: str) -> Calibration | None:
        """Give what calibrates the class probabilities of `fast` or `paper`; None if it was made without data."""
        facts = self.provenance.facts.get("calibration", {})
        return read_calibration(facts, protocol, self.config.classes, f"{self.path / self.filename}: calibration")

    @property
    def imported(self) -> list[str]:
        """Networks that were trained elsewhere, on images nobody told."""
        facts = self.provenance.facts
        return [stage for stage in ("coarse", "classifier", "enhanced") if "imported" in facts.get(stage, {})]


class Report(Artifact):
    """An evaluation: `report.html` to read, `metrics.json` and `per_image.csv` to compute with."""

    filename = "evaluation.json"
    version = 2

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The summary."""
        return json_object(self.path / "metrics.json")


class Export(Artifact):
    """A bundle as one graph: `model.onnx` or `model.pt2`, with how to use it under `facts` of `model.json`."""

    filename = "model.json"
    version = 1


def _mapped(file: Path) -> Bytes:
    try:
        # Not `np.load`, which also opens zip files and pickles.
        array: Bytes = np.lib.format.open_memmap(file, mode="r")
        if array.dtype != np.uint8:
            raise ValueError
    # A header may also be no Python, be nested too deep, or tell of more than there is.
    except (OSError, ValueError, EOFError, SyntaxError, RecursionError, OverflowError, MemoryError):
        raise UserError(f"{file}: missing or damaged; make its folder again") from None
    return array


def check_same_data(artifact: Artifact, data: PreparedData) -> None:
    """Raise a UserError unless `artifact` was made from just these prepared pictures.

    An imported network, trained elsewhere, goes with any pictures of its classes, if the whole of it was imported.
    """
    made_from = artifact.provenance.inputs.get("data")
    if made_from is None and isinstance(artifact, Run):
        artifact.check_whole()
        classes = tuple(artifact.provenance.settings["classes"])
        if classes != data.classes:
            raise UserError(f"{artifact.path}: for the classes {classes}, {data.path} has {data.classes}")
        return
    if made_from != data.provenance.fingerprint:
        raise UserError(
            f"{artifact.path}: made from other data than {data.path}; make it again from these, or name the data "
            "it was made from"
        )
