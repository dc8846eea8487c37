"""The `mbdcnn` command: each verb a dataclass with `run()`, its heavy imports inside.

Exit codes: 0 done, 1 failed, 2 wrong usage. What goes wrong is one line on standard error.
"""

from __future__ import annotations

import json
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

import mbdcnn
from mbdcnn.config import Config, load_config
from mbdcnn.errors import UserError
from mbdcnn.progress import Progress, bar

NOTICE = "For research and education; not a medical device."

Settings = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")]
Protocol = Literal["fast", "paper"]


@dataclass(kw_only=True)
class Verb(ABC):
    """What all commands share."""

    quiet: Annotated[bool, arg(aliases=["-q"])] = False
    """Draw no progress bars."""
    verbose: Annotated[bool, arg(aliases=["-v"])] = False
    """Say more about what is done."""

    @abstractmethod
    def run(self) -> None:
        """Do the work; raise a UserError for what the user can mend."""

    def bar(self, title: str) -> AbstractContextManager[Progress]:
        """Open a progress bar."""
        return bar(title, quiet=self.quiet)


@dataclass(kw_only=True)
class Configured(Verb):
    """Commands that follow a configuration."""

    config: Annotated[str | None, arg(metavar="NAME|FILE")] = None
    """paper, compact, demo, a YAML file, or a run or bundle whose settings are used again. The paper's if not given."""
    settings: Settings = ()
    """Override one setting, such as `coarse.training.length="10 epochs"`; may be given several times."""

    def load(self) -> Config:
        """Resolve the configuration."""
        return load_config(self.config, self.settings)


@dataclass(kw_only=True)
class Prepare(Configured):
    """Turn raw pictures into arrays: ISIC-2017, PH2, the authors' folders, or your own CSV table."""

    raw: Positional[Path]
    """Folder or CSV file of pictures, masks and labels."""
    data: Positional[Path]
    """Folder to write."""

    def run(self) -> None:
        """Prepare and say what was found."""
        from mbdcnn.data.prepare import prepare, summary_lines

        with self.bar("prepare") as progress:
            data = prepare(self.raw, self.data, self.load(), progress)
        print(*summary_lines(data), sep="\n")


@dataclass(kw_only=True)
class Train(Configured):
    """Train one of the three networks."""

    stage: Positional[Literal["coarse", "classifier", "enhanced"]]
    """Which network: coarse-SN, mask-CN or enhanced-SN."""
    data: Path = Path("data")
    """Prepared pictures."""
    out: Path | None = None
    """Folder of the run; `runs/STAGE` if not given."""
    masks: Path | None = None
    """Coarse masks, for classifier and enhanced."""
    coarse: Path | None = None
    """Run of coarse-SN that enhanced-SN starts from."""
    classifier: Path | None = None
    """Run of mask-CN that guides enhanced-SN."""
    fold: int | None = None
    """Leave out this fold of `coarse.folds`, counted from 0 (coarse only)."""
    resume: bool = False
    """Go on with a run that was interrupted."""
    restart: bool = False
    """Discard a run that was interrupted."""

    def run(self) -> None:
        """Train and say how good it got."""
        from mbdcnn.artifacts import MaskSet, PreparedData, Run
        from mbdcnn.training.fit import Sources, train

        sources = Sources(
            masks=MaskSet.open(self.masks) if self.masks else None,
            coarse=Run.open_stage(self.coarse, "coarse") if self.coarse else None,
            classifier=Run.open_stage(self.classifier, "classifier") if self.classifier else None,
        )
        out = self.out or Path("runs") / self.stage
        interrupted = "resume" if self.resume else "restart" if self.restart else "refuse"
        with self.bar(f"train {self.stage}") as progress:
            run = train(
                self.stage,
                PreparedData.open(self.data),
                out,
                self.load(),
                sources,
                fold=self.fold,
                interrupted=interrupted,  # type: ignore[arg-type]
                progress=progress,
            )
        facts = run.provenance.facts
        print(f"{out}: best validation {facts['score']} {facts['best']:.4f} at step {facts['best_step']}")


@dataclass(kw_only=True)
class Masks(Verb):
    """Predict coarse masks for every patch, for training classifier and enhanced."""

    coarse: Path = Path("runs/coarse")
    """Run of coarse-SN."""
    data: Path = Path("data")
    """Prepared pictures."""
    out: Path = Path("masks")
    """Folder to write."""
    folds: tuple[Path, ...] = ()
    """Runs that each left out one fold, in order: training images get masks from the one that did not see them."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Predict and say where the masks lie."""
        from mbdcnn.artifacts import PreparedData, Run
        from mbdcnn.inference.masks import generate_masks

        folds = [Run.open_stage(fold, "coarse") for fold in self.folds]
        coarse = Run.open_stage(self.coarse, "coarse")
        with self.bar("coarse masks") as progress:
            masks = generate_masks(
                coarse, PreparedData.open(self.data), self.out, folds=folds, device=self.device, progress=progress
            )
        print(f"{self.out}: coarse masks of {masks.provenance.facts['patches']} patches")


@dataclass(kw_only=True)
class BundleRuns(Verb):
    """Put three runs together into one model folder."""

    coarse: Path = Path("runs/coarse")
    """Run of coarse-SN."""
    classifier: Path = Path("runs/classifier")
    """Run of mask-CN."""
    enhanced: Path = Path("runs/enhanced")
    """Run of enhanced-SN."""
    out: Path = Path("bundle")
    """Folder to write."""

    def run(self) -> None:
        """Write the bundle."""
        from mbdcnn.artifacts import Run
        from mbdcnn.inference.bundle import STAGES, write_bundle

        runs = {stage: Run.open_stage(getattr(self, stage), stage) for stage in STAGES}
        bundle = write_bundle(runs, self.out)
        megabytes = sum(bundle.weights(stage).stat().st_size for stage in STAGES) / 1e6
        print(f"{self.out}: a model of {megabytes:.1f} MB")


@dataclass(kw_only=True)
class RunAll(Configured):
    """Do everything from raw pictures to a scored model, skipping what is up to date."""

    raw: Positional[Path]
    """Folder or CSV file of pictures, masks and labels."""
    out: Positional[Path]
    """Folder for all that is made: data, runs, masks, bundle, report."""
    split: Literal["validation", "test"] | None = None
    """What to evaluate on; test where there is one, else validation."""

    def run(self) -> None:
        """Run the pipeline and show the scores."""
        from mbdcnn.data.prepare import summary_lines
        from mbdcnn.pipeline import run

        results = run(self.raw, self.out, self.load(), self.bar, self.split)
        print(*summary_lines(results.data), *score_lines(results.report), sep="\n")
        print(f"model    {results.bundle.path}\nreport   {results.report.path / 'report.html'}\n{NOTICE}")


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

        files = find_pictures(self.images)
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
class Demo(Verb):
    """Run the whole pipeline on a generated data set with small networks, in minutes."""

    out: Path = Path("demo")
    """Folder for all that is made."""

    def run(self) -> None:
        """Generate, train, evaluate, predict."""
        from mbdcnn.demo import demo

        results, overlay = demo(self.out, self.bar)
        print(*score_lines(results.report), sep="\n")
        print(f"report   {results.report.path / 'report.html'}\noverlay  {overlay}\n{NOTICE}")


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


VERBS: dict[str, Callable[..., Verb]] = {
    "demo": Demo,
    "prepare": Prepare,
    "train": Train,
    "masks": Masks,
    "bundle": BundleRuns,
    "run": RunAll,
    "evaluate": Evaluate,
    "predict": Predict,
    "info": Info,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"mbdcnn {mbdcnn.__version__}")
        return
    verb: Verb = tyro.extras.subcommand_cli_from_dict(
        VERBS,
        prog="mbdcnn",
        description=f"MB-DCNN: outline a skin lesion and classify it. {NOTICE}",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
    )
    logging.basicConfig(level=logging.INFO if verb.verbose else logging.WARNING, format="%(message)s")
    sys.exit(_run(verb))


def _run(verb: Verb) -> int:
    try:
        verb.run()
    except UserError as error:
        message = str(error)
    except KeyboardInterrupt:
        message = "stopped"
    except OSError as error:
        message = f"{error.filename or 'output'}: {error.strerror or error}"
    else:
        return 0
    print(f"mbdcnn: {message}", file=sys.stderr)
    return 1


def score_lines(report: Any) -> list[str]:
    """Give the headline of a report, with 95 % intervals."""
    metrics = report.metrics
    lines = []
    if metrics["segmentation"]:
        for network in ("coarse", "enhanced"):
            lines.append(f"{network:<8} Jaccard {_estimate(metrics['segmentation'][network]['jaccard'])}")
    if metrics["classification"]:
        lines.append(f"classes  mean AUC {_estimate(metrics['classification']['mean_auc'])}")
    return lines


def _estimate(estimate: dict[str, float | None] | None) -> str:
    if estimate is None:
        return "not applicable"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f}  (95 % interval {estimate['low']:.3f}-{estimate['high']:.3f})"


def _prediction_line(entry: dict[str, Any]) -> str:
    if "problem" in entry:
        return f"{entry['file']}: not predicted"
    classes = ", ".join(f"{name.replace('_', ' ')} {value:.0%}" for name, value in entry["probabilities"].items())
    return f"{entry['file']}: {classes}; lesion {entry['area_fraction']:.0%} of the picture"


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_readable(inner)}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
