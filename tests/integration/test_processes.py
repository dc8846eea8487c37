"""Training by several processes, as `torchrun` starts them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from safetensors.numpy import load_file

from mbdcnn.cli import main
from mbdcnn.config import Config, save_config
from mbdcnn.errors import UserError
from mbdcnn.models import build_coarse
from mbdcnn.system.processes import Processes
from mbdcnn.training.fit import train
from mbdcnn.training.group import Group
from mbdcnn.training.segmentation import SegmentationTask
from mbdcnn.training.task import Course

ALIKE = [
    "training.freeze_batch_norm=true",
    "training.batch_size=8",
    "training.length=4 steps",
    "training.validate_every=2 steps",
    "network.dropout=0",
    *(f"augmentation.{name}=0" for name in ("crop_probability", "rotation", "translate_y", "shear")),
    *(f"augmentation.{name}_flip=0" for name in ("vertical", "horizontal")),
    "augmentation.scale=[1, 1]",
]
STAGES = ("coarse", "classifier", "enhanced")
SCRIPT = """
import sys, torch
from mbdcnn.cli import main
torch.set_num_threads(1)
for line in open(sys.argv[1]):
    try:
        main(line.split())
    except SystemExit as end:
        if end.code:
            raise
"""


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
}


@pytest.fixture
def alike(tiny_config, sources) -> Config:
    """Nothing random, and batch norm frozen, so that an image's gradient does not depend on its neighbours."""
    starts = (f"{stage}.initial_weights={getattr(sources, stage).path}" for stage in ("coarse", "classifier"))
    return tiny_config(*(f"{stage}.{setting}" for stage in STAGES for setting in ALIKE), *starts)


def table(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    options = ("--standalone", "--nproc-per-node=2")
    command = [sys.executable, "-m", "torch.distributed.run", *options, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_two_processes_train_what_one_does(data, experiment, sources, alike: Config, tmp_path: Path) -> None:
    save_config(alike, tmp_path / "alike.yaml")
    options = f"--data {experiment.out / 'data'} --config {tmp_path / 'alike.yaml'}"
    given = {
        "coarse": "",
        "classifier": f"--masks {sources.masks.path}",
        "enhanced": f"--masks {sources.masks.path} --coarse {sources.coarse.path} "
        f"--classifier {sources.classifier.path}",
    }
    lines = [f"train {stage} {options} --out {tmp_path / stage} {given[stage]}" for stage in STAGES]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = torchrun(tmp_path / "script.py", tmp_path / "lines.txt")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("best validation") == 3
    for stage in STAGES:
        alone = train(stage, data, tmp_path / f"{stage}-alone", alike, sources)
        expected, found = (load_file(path / "last.safetensors") for path in (alone.path, tmp_path / stage))
        for name, weights in expected.items():
            assert found[name] == pytest.approx(weights, abs=2e-5), name
        for one, two in zip(table(alone.path), table(tmp_path / stage), strict=True):
            # Rounding may turn the order of two images that are nearly alike, one step of the area in 48.
            area = pytest.approx(one.pop("mean_auc"), abs=1.5 / 48) if "mean_auc" in one else None
            assert two.pop("mean_auc", None) == area
            assert two == pytest.approx(one, abs=1e-4)
    assert not list(tmp_path.glob(".*partial"))


def test_only_training_is_shared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["masks"])
    assert "2 processes were started, but this command works in one" in capsys.readouterr().err


SCRIPT_OF_A_JOB = {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_NTASKS_PER_NODE": "4", "SLURM_LOCALID": "0"}
SRUN = SCRIPT_OF_A_JOB | {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes()),
        (TORCHRUN, Processes(1, 2, 2, 1)),
        (SRUN, Processes(5, 8, 4, 1)),
        (SCRIPT_OF_A_JOB, Processes()),
        (SCRIPT_OF_A_JOB | {"SLURM_STEP_NUM_TASKS": "1"}, Processes()),
    ],
)
def test_what_started_the_processes_is_recognised(environment: dict[str, str], expected: Processes) -> None:
    found = Processes.started(environment)
    assert found == expected
    assert found.first == (found.rank == 0)
    assert found.nodes * found.on_this_node == found.count


def test_slurm_without_tasks_per_node_is_told() -> None:
    with pytest.raises(UserError, match="give --ntasks-per-node"):
        Processes.started({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"})


def test_shares_must_be_even_and_none_empty() -> None:
    group = Group(Processes(0, 4, 4, 0))
    group.check_shares(8, 4)
    with pytest.raises(UserError, match="batch_size 6: not a multiple of the 4 processes"):
        group.check_shares(6, 4)
    with pytest.raises(UserError, match="3 validation images for 4 processes"):
        group.check_shares(8, 3)


def test_frozen_batch_norm_stays_so_when_it_is_synchronised(data, sources, alike: Config) -> None:
    """On several GPUs Lightning replaces every batch norm after the task was made."""
    network = build_coarse(alike)
    course = Course(alike.coarse.training, side=32, steps=1, seed=0, ids=[])
    task = SegmentationTask(network, course, alike.coarse)
    task = TorchSyncBatchNorm().apply(task)
    task.train()
    task.on_train_epoch_start()
    norms = [module for module in task.network.modules() if isinstance(module, torch.nn.SyncBatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
