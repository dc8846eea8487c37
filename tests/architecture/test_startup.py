"""What must start fast imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = (
    "mbdcnn",
    "mbdcnn.config",
    "mbdcnn.artifacts",
    "mbdcnn.artifacts.manifest",
    "mbdcnn.artifacts.provenance",
    "mbdcnn.system.device",
    "mbdcnn.system.progress",
    "mbdcnn.cli",
    "mbdcnn.info",
    "mbdcnn.data",
    "mbdcnn.data.images.decoding",
    "mbdcnn.data.crops",
    "mbdcnn.data.prepare",
    "mbdcnn.data.synthetic",
    "mbdcnn.data.folds",
    "mbdcnn.inference.predict",
    "mbdcnn.inference.graphs",
    "mbdcnn.inference.runtimes",
)


@pytest.mark.parametrize("module", LIGHT)
def test_no_torch_at_import(module: str) -> None:
    program = (
        f"import sys, {module}; sys.exit(bool({{'torch', 'lightning', 'matplotlib', 'scipy'}} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.slow
def test_prediction_needs_no_training_library() -> None:
    program = (
        "import sys, torch, mbdcnn.inference.predict, mbdcnn.models.weights\n"
        "assert not {'lightning', 'torchmetrics', 'matplotlib', 'tensorboard'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_tests_of_light_modules_need_no_torch() -> None:
    """What all tests share imports the package where it is asked for, after the hook that checks shapes is there."""
    program = "import sys, conftest, sites, faults; assert not {'torch', 'mbdcnn'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parents[1])
