"""The three full-size networks with formula weights, sent through the importer, shared by all parity tests."""

from __future__ import annotations

import json
import math
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lite_weights import published_shapes
from mbdcnn.config import Config
from mbdcnn.models import (
    CoarseSegmenter,
    EnhancedSegmenter,
    MaskGuidedClassifier,
    build_classifier,
    build_coarse,
    build_enhanced,
)
from mbdcnn.models.checkpoints import import_state_dict

FOLDER = Path(__file__).parent


@cache
def formula_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Fill a tensor as the golden numbers' networks were filled, by the ending of its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith(("running_mean", "bias")):
        values = rng.normal(0, 0.1, shape)
    elif len(shape) == 1:
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.normal(0, math.sqrt(1 / math.prod(shape[1:])), shape)
    return torch.from_numpy(values.astype(np.float32))


def formula_state(network: str) -> dict[str, torch.Tensor]:
    """Return a whole checkpoint in the authors' names."""
    shapes = json.loads((FOLDER / "reference_state_dicts.json").read_text())[network]
    return {name: formula_tensor(name, tuple(shape)) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def lite_state():
    """Return a function giving a whole checkpoint of EfficientNet-Lite0, 1 or 2 in its published names."""
    return lambda lite: {name: formula_tensor(name, shape) for name, shape in published_shapes(lite).items()}


@pytest.fixture(scope="session")
def coarse() -> CoarseSegmenter:
    return _imported(build_coarse(Config()), "coarse")


@pytest.fixture(scope="session")
def classifier() -> MaskGuidedClassifier:
    return _imported(build_classifier(Config()), "classifier")


@pytest.fixture(scope="session")
def enhanced() -> EnhancedSegmenter:
    return _imported(build_enhanced(Config()), "enhanced")


@pytest.fixture(scope="session")
def random_input():
    """Return a function giving the golden numbers' uniform inputs by seed and shape."""
    return lambda seed, *shape: torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32))


@pytest.fixture(scope="session")
def golden():
    """Return a function reading one array of `networks.npz`, `losses.npz` or `efficientnet_lite.npz`."""
    archives = [np.load(FOLDER / f"{name}.npz") for name in ("networks", "losses", "efficientnet_lite")]

    def read(name: str) -> torch.Tensor:
        return torch.from_numpy(next(archive[name] for archive in archives if name in archive))

    yield read
    for archive in archives:
        archive.close()


def _imported(network, name):
    report = import_state_dict(network, formula_state(name))
    assert not report.dropped
    assert not report.initial
    return network.eval()
