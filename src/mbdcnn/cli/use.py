"""Commands that use models and look at what was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from mbdcnn.cli.verb import NOTICE, Verb
from mbdcnn.errors import UserError

Protocol = Literal["fast", "paper"]


@dataclass(kw_only=True)
class Evaluate(Verb):
    """Score a model on prepared pictures and write a report."""

    model: Path = Path("bundle")
    """Bundle to score."""
    data: Path = Path("data")
    """Prepared pictures."""
    split: Literal["train", "validation", "test"] = "test"
    """Which of them."""
    out: Path = Path("report")
    """Folder to write."""
    protocol: Protocol = "paper"
    """paper: all views and scales; fast: one view of each network."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    allow_training_images: bool = False
    """Score even images that the model was trained on."""
    json: bool = False
    """Print all metrics as JSON."""

    def run(self) -> None:
        """Score and show the headline."""
        from mbdcnn.artifacts import Bundle, PreparedData
        from mbdcnn.evaluation.evaluate import evaluate
        from mbdcnn.evaluation.wording import score_lines

        with self.bar(f"evaluate {self.split}") as progress:
            report = evaluate(
                Bundle.open(self.model),
                PreparedData.open(self.data),
                self.split,
                self.out,
                protocol=self.protocol,
                device=self.device,
                allow_training_images=self.allow_training_images,
                progress=progress,
            )
        if self.json:
            print(json.dumps(report.metrics, indent=2))
        else:
            print(*score_lines(report), f"report   {report.path / 'report.html'}", NOTICE, sep="\n")


@dataclass(kw_only=True)
class Predict(Verb):
    """Outline and classify the lesion in pictures."""

    images: Positional[tuple[str, ...]]
    """Picture files, folders or glob patterns."""
    model: Path = Path("bundle")
    """Bundle to predict with."""
    out: Path = Path("predictions")
    """Folder for masks, overlays and tables."""
    protocol: Protocol = "fast"
    """fast: one view of each network; paper: all views and scales."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: bool = False
    """Print the predictions as JSON."""

    def run(self) -> None:
        """Predict; fail at the end if a picture could not be read."""
        if not self.images:
            raise UserError("predict: name at least one picture, folder or pattern")
        from mbdcnn.inference.predict import find_pictures, predict_files
        from mbdcnn.inference.predictor import Predictor

        files = find_pictures(self.images, apart_from=self.out)
        predictor = Predictor.load(self.model, device=self.device)
        with self.bar("predict") as progress:
            entries = predict_files(predictor, files, self.out, self.protocol, progress)
        if self.json:
            print(json.dumps(entries, indent=2))
        else:
            print(*map(_prediction_line, entries), f"written to {self.out}. {NOTICE}", sep="\n")
        problems = [entry["problem"] for entry in entries if "problem" in entry]
        if problems:
            raise UserError("\n".join(problems))


@dataclass(kw_only=True)
class Info(Verb):
    """Say what is installed, or what a folder or configuration is and how it was made."""

    path: Positional[str | None] = None
    """A folder made by mbdcnn, or the name or file of a configuration."""
    json: bool = False
    """Print as JSON."""

    def run(self) -> None:
        """Look and tell."""
        from mbdcnn.info import describe

        facts = describe(self.path)
        if self.json:
            print(json.dumps(facts, indent=2))
        else:
            print(*(f"{name:<12} {_readable(value)}" for name, value in facts.items()), sep="\n")


def _prediction_line(entry: dict[str, Any]) -> str:
    if "problem" in entry:
        return f"{entry['file']}: not predicted"
    classes = ", ".join(f"{name.replace('_', ' ')} {value:.0%}" for name, value in entry["probabilities"].items())
    return f"{entry['file']}: {classes}; lesion {entry['area_fraction']:.0%} of the picture"


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_readable(inner)}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
