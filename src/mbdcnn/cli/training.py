"""Commands that make models."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mbdcnn.cli.data import Extra
from mbdcnn.cli.verb import NOTICE, Configured, Verb
from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName
from mbdcnn.system.processes import Processes

if TYPE_CHECKING:
    from mbdcnn.config import Config


@dataclass(kw_only=True)
class Train(Configured):
    """Train one of the three networks; several processes that `torchrun` or `srun` started train it together."""

    shared = True
    stage: Positional[Literal["coarse", "classifier", "enhanced"]]
    """Which network: coarse-SN, mask-CN or enhanced-SN."""
    data: Path = Path("data")
    """Prepared images."""
    out: Path | None = None
    """Folder of the run; `runs/STAGE` if not given."""
    masks: Path | None = None
    """Coarse masks, for classifier and enhanced."""
    coarse: Path | None = None
    """Run of coarse-SN that enhanced-SN starts from."""
    classifier: Path | None = None
    """Run of mask-CN that guides enhanced-SN."""
    fold: str | None = None
    """Leave out this fold of the training images: 0/5 to 4/5 for five folds."""
    resume: bool = False
    """Resume a run that was interrupted."""
    overwrite: bool = False
    """Replace a finished run of other settings or sources, or discard one that was interrupted."""

    @property
    def place(self) -> Path:
        """Folder of the run."""
        return self.out or Path("runs") / self.stage

    def when_stopped(self) -> str:
        """Say how to resume."""
        from mbdcnn.artifacts import draft_path
        from mbdcnn.training.fit import LAST

        if (draft_path(self.place) / LAST).is_file():
            return "run the same command with --resume to go back to the last checkpoint"
        return "there was no checkpoint yet, which comes with the first validation"

    def when_out_of_memory(self) -> str:
        """Name the settings that take less."""
        return _smaller_batches(self.load(), [self.stage])

    def run(self) -> None:
        """Train and say how good it got."""
        from mbdcnn.artifacts import MaskSet, PreparedData, Run
        from mbdcnn.data.folds import Fold
        from mbdcnn.training.fit import Sources, train

        sources = Sources(
            masks=MaskSet.open(self.masks) if self.masks else None,
            coarse=Run.open_stage(self.coarse, "coarse") if self.coarse else None,
            classifier=Run.open_stage(self.classifier, "classifier") if self.classifier else None,
        )
        if self.resume and self.overwrite:
            raise UserError("train: give --resume or --overwrite, not both")
        interrupted = "resume" if self.resume else "restart" if self.overwrite else "refuse"
        with self.bar(f"train {self.stage}") as progress:
            run = train(
                self.stage,
                PreparedData.open(self.data),
                self.place,
                self.load(),
                sources,
                fold=Fold.parse(self.fold) if self.fold else None,
                interrupted=interrupted,  # type: ignore[arg-type]
                overwrite=self.overwrite,
                progress=progress,
            )
        facts = run.provenance.facts
        if Processes.started().first:
            print(f"{self.place}: best validation {facts['score']} {facts['best']:.4f} at step {facts['best_step']}")


@dataclass(kw_only=True)
class Masks(Verb):
    """Predict coarse masks for every patch, for training classifier and enhanced."""

    coarse: Path = Path("runs/coarse")
    """Run of coarse-SN."""
    data: Path = Path("data")
    """Prepared images."""
    out: Path = Path("masks")
    """Folder to write."""
    folds: tuple[Path, ...] = ()
    """Runs that each left out one fold, in order: training images get masks from the one that did not see them."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    overwrite: bool = False
    """Replace other masks at --out."""

    def run(self) -> None:
        """Predict and say where the masks lie."""
        from mbdcnn.artifacts import PreparedData, Run
        from mbdcnn.inference.masks import generate_masks

        folds = [Run.open_stage(fold, "coarse") for fold in self.folds]
        coarse = Run.open_stage(self.coarse, "coarse")
        with self.bar("coarse masks") as progress:
            masks = generate_masks(
                coarse,
                PreparedData.open(self.data),
                self.out,
                folds=folds,
                device=self.device,
                overwrite=self.overwrite,
                progress=progress,
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
    data: Path | None = None
    """Prepared images to calibrate on; without them there is neither calibration nor an out-of-distribution score."""
    coarse_folds: tuple[Path, ...] = ()
    """Runs of coarse-SN that each left out one fold, in order, to calibrate on training images; without them --coarse
    serves for all folds."""
    classifier_folds: tuple[Path, ...] = ()
    """Runs of mask-CN that left out the same folds; without them the validation images serve."""
    ensemble: Annotated[int | None, arg(aliases=["--committee"])] = None
    """Average so many of the mask-CN of folds, the first; if not given as the runs were configured, or 1 without
    folds."""
    half: bool = False
    """Store weights in half precision: half the size."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    overwrite: bool = False
    """Replace another bundle at --out."""

    def run(self) -> None:
        """Write the bundle."""
        from mbdcnn.artifacts import PreparedData, Run
        from mbdcnn.bundling.write import write_bundle
        from mbdcnn.inference.networks import STAGES

        coarse_folds = self.coarse_folds or (self.coarse,) * len(self.classifier_folds)
        if len(coarse_folds) != len(self.classifier_folds):
            raise UserError(
                f"bundle: {len(self.coarse_folds)} --coarse-folds and {len(self.classifier_folds)} --classifier-folds; "
                "give one of each for every fold"
            )
        folds = [
            (Run.open_stage(coarse, "coarse"), Run.open_stage(classifier, "classifier"))
            for coarse, classifier in zip(coarse_folds, self.classifier_folds, strict=True)
        ]
        runs = {stage: Run.open_stage(getattr(self, stage), stage) for stage in STAGES}
        with self.bar("bundle") as progress:
            bundle = write_bundle(
                runs,
                self.out,
                data=PreparedData.open(self.data) if self.data else None,
                folds=folds,
                ensemble=self.ensemble,
                half=self.half,
                device=self.device,
                overwrite=self.overwrite,
                progress=progress,
            )
        megabytes = sum(bundle.weights(stage).stat().st_size for stage in STAGES) / 1e6
        print(f"{self.out}: a model of {megabytes:.1f} MB")
        if (calibration := bundle.calibration("fast")) and calibration.note:
            print(calibration.note)


@dataclass(kw_only=True)
class ImportWeights(Configured):
    """Turn foreign checkpoints into a run to start training from, or all three networks into a model.

    Known are the MB-DCNN authors' files, Xception (ImageNet), DeepLabV3+ Xception-65 (VOC), MobileNetV2,
    EfficientNet-Lite0, 1 and 2 (ImageNet), Keras files of Xception and this package's own, told apart by their tensors.
    """

    files: Positional[tuple[Path, ...]]
    """One file, or one of each network; safetensors, torch files of plain tensors or Keras files."""
    out: Path
    """Folder of the run; with three files, for `runs` and `bundle`."""
    stage: Annotated[Literal["coarse", "classifier", "enhanced"] | None, arg(name="as")] = None
    """Network to put a single file into, if not the one it is for."""

    def run(self) -> None:
        """Import and say what became of the tensors."""
        from mbdcnn.bundling.imports import import_model, import_run

        if len(self.files) == 1:
            imported = [import_run(self.files[0], self.out, self.load(), self.stage)]
        elif self.stage is not None:
            raise UserError("import-weights: --as goes with one file; several are told apart by their tensors")
        else:
            imported, _ = import_model(self.files, self.out, self.load())
        for each in imported:
            print(f"{each.file}: {each.report.summary()}; now the {each.run.stage} run {each.run.path}")
            if self.verbose:
                lines = [f"  dropped {name}: {reason}" for name, reason in each.report.dropped.items()]
                print(*lines, *(f"  left at initialisation {name}" for name in each.report.initial), sep="\n")
        if len(imported) > 1:
            print(f"{self.out / 'bundle'}: a model; the images it was trained on are not known")


@dataclass(kw_only=True)
class RunAll(Configured):
    """Do everything from raw images to a scored model, skipping what is up to date."""

    raw: Positional[Path]
    """Folder or CSV file of images, masks and labels."""
    out: Positional[Path]
    """Folder for all that is made: data, runs, masks, bundle, report."""
    split: Literal["validation", "test"] | None = None
    """What to evaluate on; test where there is one, else validation."""
    protocol: ProtocolName = "fast"
    """How to evaluate. fast: one view of each network, as `predict` does; paper: all views and scales."""
    extra: Extra = ()
    """More images in one of the layouts; may be given several times."""
    allow_overlap: bool = False
    """Continue although a patient, lesion or image is in several splits, or starting weights know images of another."""
    overwrite: bool = False
    """Replace what was made there with other settings or of other images."""

    def when_stopped(self) -> str:
        """Say that nothing is lost."""
        return f"run the same command again to resume from {self.out}"

    def when_out_of_memory(self) -> str:
        """Name the settings that take less."""
        return _smaller_batches(self.load(), ["coarse", "classifier", "enhanced"])

    def run(self) -> None:
        """Run the pipeline and show the scores."""
        from mbdcnn.artifacts.builtin import bundled_model
        from mbdcnn.data.prepare import summary_lines
        from mbdcnn.evaluation.report.wording import score_lines
        from mbdcnn.pipeline import run

        results = run(
            self.raw,
            self.out,
            self.load(),
            self.bar,
            self.split,
            extra=self.extra,
            allow_overlap=self.allow_overlap,
            overwrite=self.overwrite,
            rival=bundled_model(),
            say=self.say,
            protocol=self.protocol,
        )
        print(*summary_lines(results.data), *score_lines(results.report), sep="\n")
        print(f"model    {results.bundle.path}\nreport   {results.report.path / 'report.html'}\n{NOTICE}")


@dataclass(kw_only=True)
class Demo(Verb):
    """Run the whole pipeline on a generated data set with small networks, in minutes."""

    out: Path = Path("demo")
    """Folder for all that is made."""

    def when_stopped(self) -> str:
        """Say that nothing is lost."""
        return f"run the same command again to resume from {self.out}"

    def run(self) -> None:
        """Generate, train, evaluate, predict."""
        from mbdcnn.demo import demo
        from mbdcnn.evaluation.report.wording import score_lines

        results, image, overlay = demo(self.out, self.bar)
        print(*score_lines(results.report), sep="\n")
        print(f"report   {results.report.path / 'report.html'}\noverlay  {overlay}")
        print("The model that comes with mbdcnn is trained on real images. To see what it makes of any image:")
        print(f"    {sys.argv[0]} predict {image} --out {self.out / 'shipped'}\n{NOTICE}")


def _smaller_batches(config: Config, stages: Sequence[str]) -> str:
    halves = {stage: max(2, getattr(config, stage).training.batch_size // 2) for stage in stages}
    smaller = " ".join(f"--set {stage}.training.batch_size={half}" for stage, half in halves.items())
    return f"give {smaller}, or --set runtime.device=cpu"
