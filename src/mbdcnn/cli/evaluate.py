"""The command that scores models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from mbdcnn.cli.verb import NOTICE, Verb
from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName, RuntimeName
from mbdcnn.system.progress import Progress

if TYPE_CHECKING:
    from mbdcnn.artifacts import Bundle, PreparedData, Report


@dataclass(kw_only=True)
class Evaluate(Verb):
    """Score a model, or what another method left in files, and write a report."""

    model: Path | None = None
    """Bundle to score; `bundled`, the model that comes with the package, if not given."""
    predictions: Annotated[Path | None, arg(metavar="DIR|CSV")] = None
    """Score these instead of a model: a folder of masks (ID.png, ID_segmentation.png, ID_mask.png), a CSV file of
    probabilities (id and a column for each class), or a folder with both."""
    data: Path = Path("data")
    """Prepared images; or raw ones in a layout that `prepare` reads, which are then prepared by the model's settings
    in the cache, to be used again."""
    split: Literal["train", "validation", "test"] = "test"
    """Which of them."""
    out: Path = Path("report")
    """Folder to write."""
    protocol: ProtocolName = "fast"
    """fast: one view of each network, as `predict` does; paper: all views and scales, as the paper does."""
    compare: Annotated[Path | None, arg(metavar="BUNDLE")] = None
    """A second bundle, or predictions in files, to score on the same images: differences with paired intervals."""
    stress: bool = False
    """Also score images corrupted in 12 ways at 3 severities; predicts each image 37 times more, by fast."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    runtime: RuntimeName = "torch"
    """What runs the networks. The others work on the CPU, start faster from the second time on and need the extra
    `export`; results agree up to rounding, those of openvino-bf16 to about a percent."""
    allow_training_images: bool = False
    """Score even images that the model was trained on."""
    allow_missing: bool = False
    """With --predictions: leave out images that have none."""
    overwrite: bool = False
    """Replace a report of something else at --out."""
    json: bool = False
    """Print all metrics as JSON."""

    def run(self) -> None:
        """Score and show the headline."""
        from mbdcnn.evaluation.report.wording import score_lines

        with self.bar(f"evaluate {self.split}") as progress:
            report = (
                self._of_model(progress) if self.predictions is None else self._of_files(self.predictions, progress)
            )
        if self.json:
            print(json.dumps(report.metrics, indent=2))
        else:
            print(*score_lines(report), f"report   {report.path / 'report.html'}", NOTICE, sep="\n")

    def _of_model(self, progress: Progress) -> Report:
        from mbdcnn.artifacts.builtin import open_model
        from mbdcnn.evaluation.evaluate import evaluate
        from mbdcnn.evaluation.options import Options
        from mbdcnn.evaluation.raw import fitting

        if self.allow_missing:
            raise UserError("--allow-missing goes with --predictions; a model predicts every image")
        bundle = open_model(self.model)
        options = Options(
            protocol=self.protocol,
            device=self.device,
            runtime=self.runtime,
            compare_with=self.compare,
            stress=self.stress,
            allow_training_images=self.allow_training_images,
            overwrite=self.overwrite,
        )
        data = self._prepared(lambda: bundle)
        with self.bar("prepare") as preparing:
            data = fitting(data, bundle, preparing)
        return evaluate(bundle, data, self.split, self.out, options, progress)

    def _of_files(self, predictions: Path, progress: Progress) -> Report:
        from mbdcnn.artifacts.builtin import open_model
        from mbdcnn.evaluation.evaluate import evaluate_predictions

        if self.compare or self.stress:
            raise UserError(
                "--compare and --stress need a model: evaluate --model BUNDLE --compare DIR_OR_CSV scores both"
            )
        return evaluate_predictions(
            predictions,
            self._prepared(lambda: open_model(self.model)),
            self.split,
            self.out,
            allow_missing=self.allow_missing,
            overwrite=self.overwrite,
            progress=progress,
        )

    def _prepared(self, model: Callable[[], Bundle]) -> PreparedData:
        from mbdcnn.evaluation.raw import open_or_prepare

        with self.bar("prepare") as progress:
            return open_or_prepare(self.data, model, progress)
