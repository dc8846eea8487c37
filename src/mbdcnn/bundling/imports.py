"""Foreign checkpoints turned into runs to start training from, or, all three networks together, into a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.artifacts.provenance import file_digest
from mbdcnn.artifacts.seen import NOTHING, write_seen
from mbdcnn.bundling.write import write_bundle
from mbdcnn.config import Config, save_config
from mbdcnn.errors import UserError
from mbdcnn.inference.networks import STAGES
from mbdcnn.models import build_network
from mbdcnn.models.checkpoints import ImportReport
from mbdcnn.models.head import class_metadata
from mbdcnn.models.names import ENSEMBLE
from mbdcnn.models.weights import identify_file, import_weights, save_weights


@dataclass(frozen=True)
class Imported:
    """A run made from a file, and what became of every tensor."""

    file: Path
    run: Run
    report: ImportReport


def import_run(
    file: Path, out: Path, config: Config, stage: str | None = None, *, beside: Mapping[str, Run] | None = None
) -> Imported:
    """Turn a checkpoint into a run; what it does not hold stays as initialised.

    Args:
        file: safetensors, or a torch file of plain tensors.
        out: folder of the run.
        config: backbone, width and classes of the network; its seed initialises.
        stage: `coarse`, `classifier` or `enhanced`; the one that the checkpoint is or starts first of all if not given.
        beside: runs of the networks that this one was trained with.

    Raises:
        UserError: the file is unreadable, of no known kind or does not fit, or a trained run lies at `out`.
    """
    stage = stage or identify_file(file).network
    _check_not_trained(out)
    section = getattr(config, stage).model_dump(mode="json")
    settings = {"stage": stage, "classes": list(config.classes), "seed": config.seed, stage: section}
    inputs = {"file": file_digest(file)} if file.is_file() else {}
    inputs |= {name: run.provenance.fingerprint for name, run in (beside or {}).items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(stage, config)
    report = import_weights(file, network, config.classes)
    with Run.writing(out, settings, inputs) as draft:
        save_weights(draft.path / "best.safetensors", network, class_metadata(stage, config.classes))
        save_config(config, draft.path / "config.yaml")
        write_seen(draft.path, {"training": NOTHING, "selection": NOTHING})
        draft.facts |= {"imported": report.source, "file": file.name, "initial": list(report.initial)}
        draft.facts |= {"used": list(report.used), "dropped": report.dropped}
        draft.facts |= {"trained_on_lesions": report.trained_on_lesions}
        if report.head is not None:
            draft.facts["head"] = vars(report.head)
    return Imported(file, Run.open(out), report)


def import_model(files: Sequence[Path], out: Path, config: Config) -> tuple[list[Imported], Bundle]:
    """Turn checkpoints of the three networks, in any order, into `out/runs/STAGE` and `out/bundle`.

    Raises:
        UserError: they are not one of each network, do not fit, or leave part of a network at initialisation.
    """
    by_stage: dict[str, Path] = {}
    for file in files:
        source = identify_file(file)
        stage = source.network
        if source.rules is ENSEMBLE:
            raise UserError(
                f"{file}: the mean of several networks, of which an import takes the first, with other probabilities; "
                f"give --model {file.parent} to use them all, or import this file alone to train from"
            )
        if stage in by_stage:
            raise UserError(f"{by_stage[stage]} and {file}: both are for the {stage} network; give one of each")
        by_stage[stage] = file
    missing = [stage for stage in STAGES if stage not in by_stage]
    if missing:
        raise UserError(
            f"{len(files)} files, none for the {missing[0]} network; give one file, or one for each network"
        )
    done: dict[str, Imported] = {}
    for stage in STAGES:
        runs = {name: imported.run for name, imported in done.items()}
        done[stage] = import_run(by_stage[stage], out / "runs" / stage, config, stage, beside=runs)
    return list(done.values()), write_bundle({stage: done[stage].run for stage in STAGES}, out / "bundle")


def _check_not_trained(out: Path) -> None:
    if (out / Run.filename).is_file() and not Run.open(out).is_import:
        raise UserError(f"{out}: a run that was trained lies there; choose another place")
