"""Folders of trained weights: a run of one network, and a bundle of three."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

from mbdcnn.artifacts.base import Artifact
from mbdcnn.artifacts.calibration import Calibration, OperatingPoint, read_calibration
from mbdcnn.artifacts.prepared import PreparedData
from mbdcnn.artifacts.seen import Seen, read_seen
from mbdcnn.config import Config, load_config
from mbdcnn.errors import UserError
from mbdcnn.system import yaml as plain_yaml


class Trained(Artifact):
    """A folder of trained weights, with what they were trained with and on."""

    @cached_property
    def config(self) -> Config:
        """What it was trained with."""
        return load_config(self.path)

    def seen(self, use: str) -> Seen:
        """Give the images used for `training`, `selection` or, by a bundle, `calibration`."""
        return read_seen(self.path, use)


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
    def is_import(self) -> bool:
        """Whether it was made from a foreign file, and not trained here."""
        return "file" in self.provenance.facts

    @property
    def of_unknown_images(self) -> str | None:
        """What it is or was started from, where that was trained on lesions, perhaps those of an evaluation."""
        facts = self.provenance.facts
        source: str | None = facts.get("imported") if facts.get("trained_on_lesions", True) else None
        return source

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

    def operating_points(self, protocol: str) -> tuple[OperatingPoint, ...]:
        """Give the thresholds on class probabilities of `fast` or `paper`."""
        calibration = self.calibration(protocol)
        return calibration.operating_points if calibration else ()

    @property
    def licence(self) -> str | None:
        """The licence of the weights that the card names, in lower case as on hubs; None if it names none."""
        card = self.path / "README.md"
        head = card.read_text(encoding="utf-8").split("---")[1:2] if card.is_file() else []
        settings = plain_yaml.read(head[0], str(card)) if head else None
        licence = settings.get("license") if isinstance(settings, dict) else None
        return None if licence is None else str(licence)

    @property
    def imported(self) -> list[str]:
        """Networks that were trained elsewhere, on images of unknown provenance."""
        facts = self.provenance.facts
        return [stage for stage in ("coarse", "classifier", "enhanced") if "imported" in facts.get(stage, {})]


def check_same_data(artifact: Artifact, data: PreparedData) -> None:
    """Raise a UserError unless `artifact` was made from just these prepared images.

    An imported network, trained elsewhere, goes with any images of its classes, if the whole of it was imported.
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
