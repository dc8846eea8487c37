"""Prepared images, coarse masks and soft labels: what training reads without decoding."""

from __future__ import annotations

import shlex
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts.base import Artifact
from mbdcnn.artifacts.manifest import Row, read_manifest
from mbdcnn.config import Config
from mbdcnn.errors import UserError
from mbdcnn.system.yaml import option

Bytes = npt.NDArray[np.uint8]


def pack(masks: npt.NDArray[np.bool_]) -> Bytes:
    """Store eight mask pixels in a byte; the last axis must be a multiple of 8."""
    return np.packbits(masks, axis=-1)


def unpack(packed: Bytes) -> npt.NDArray[np.bool_]:
    """Undo `pack`."""
    return np.unpackbits(packed, axis=-1).view(np.bool_)


RAW = "raw"
"""Fact of prepared data: where the raw images lay, the files and folders that `prepare` was given."""


def prepared_with(config: Config) -> dict[str, Any]:
    """Give the settings that decide what prepared data hold."""
    return {"classes": list(config.classes), "data": config.data.model_dump(mode="json")}


class PreparedData(Artifact):
    """Images as arrays that training and evaluation read without decoding.

    `manifest.csv` lists the images. `patches.npy` holds the classifier's views, `training_images.npy` and
    `training_masks.npy` the squashed training images and masks of the segmentation networks, `scale_S.npy` the
    validation and test images at S x S pixels, `masks.npy` every mask at the networks' size and `truth/ID.png` at
    the image's own.
    """

    filename = "prepared.json"
    version = 3

    @cached_property
    def rows(self) -> list[Row]:
        """Every image, in the order of the manifest."""
        return read_manifest(self.path / "manifest.csv")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(self.provenance.settings["classes"])

    def check_made_with(self, config: Config, name: str | None = None) -> None:
        """Raise a UserError unless classes and sizes are those of a configuration; `name` is that of its folder."""
        for section, wanted in prepared_with(config).items():
            made = self.provenance.settings[section]
            if made != wanted:
                here, there = _difference(made, wanted, section)
                remedy = self._remedy(section, name)
                raise UserError(
                    f"{self.path}: prepared with another `{section}` than that of {name or 'the configuration given'} "
                    f"({here}, not {there}); {remedy}"
                )

    def _remedy(self, section: str, name: str | None) -> str:
        if section == "classes":
            if name is None:
                return f"leave the classes out, or give {option('classes', list(self.classes))}"
            return "name data or a model of the same classes"
        if name is None:
            return "prepare again with the configuration given, or give the one that was prepared with"
        if not (raw := self.provenance.facts.get(RAW)):
            return f"mbdcnn prepare RAW DATA --config {name}, RAW being the raw images and DATA a new folder"
        extra = [word for path in raw[1:] for word in ("--extra", path)]
        return f"{shlex.join(['mbdcnn', 'prepare', raw[0], 'DATA', *extra, '--config', name])}, DATA being a new folder"

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
        """Squashed training images, rows x side x side x 3."""
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
        """Images of validation and test at `side` x `side`, by `evaluation_row`."""
        return self._array(f"scale_{side}")

    def truth(self, row: Row) -> npt.NDArray[np.bool_]:
        """Read a mask at its image's own size."""
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


def _difference(made: Any, wanted: Any, name: str) -> tuple[str, str]:
    """Give the first setting that differs, with its name, and what is wanted instead."""
    if isinstance(made, dict) and isinstance(wanted, dict):
        key = next(key for key in {**wanted, **made} if made.get(key) != wanted.get(key))
        return _difference(made.get(key), wanted.get(key), f"{name}.{key}")
    return f"{name} {made}", str(wanted)


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
