"""What must start fast imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

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
    "mbdcnn.data.images.decode",
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


def test_prediction_needs_no_training_library() -> None:
    program = (
        "import sys, torch, mbdcnn.inference.predict, mbdcnn.models.weights\n"
        "assert not {'lightning', 'torchmetrics', 'matplotlib', 'tensorboard'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
