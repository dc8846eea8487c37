"""One tiny experiment, run once and shared by all tests that need trained networks.

Importing this file imports neither torch nor the package: what a fixture needs, it imports itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings
from jaxtyping import install_import_hook

from faults import Processes

if TYPE_CHECKING:
    from mbdcnn.config import Config
    from mbdcnn.system.progress import Progress

# torch reads it when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

# Every shape annotation in these is checked at each call. Not in `runtimes`, which names torch only for the
# type checker, nor in `protocol`, whose protocol class beartype cannot check.
CHECKED = (
    "mbdcnn.models",
    "mbdcnn.training.losses",
    "mbdcnn.metrics",
    "mbdcnn.training.augment",
    "mbdcnn.training.batches",
    "mbdcnn.training.classification",
    "mbdcnn.training.segmentation",
    "mbdcnn.inference.overlay",
    "mbdcnn.inference.tta",
    "mbdcnn.evaluation.activation",
    "mbdcnn.evaluation.classification",
    "mbdcnn.evaluation.corruptions",
    "mbdcnn.evaluation.counterfactuals",
    "mbdcnn.evaluation.segmentation",
    "mbdcnn.evaluation.skin",
)
install_import_hook(CHECKED, "beartype.beartype")

pytest_plugins = ["sites"]
# How long an example takes depends on what else the machine does.
hypothesis_settings.register_profile("tests", deadline=None, max_examples=50)
hypothesis_settings.load_profile("tests")

HERE = Path(__file__).parent
SLOW = ("integration", "browser")
"""Rooms whose tests `make test` leaves out."""
IMAGES = {"train": 16, "validation": 8, "test": 4}
SETTINGS = """
data:
  image_size: 32
  segmentation_size: 48
  scales: [32, 48]
  views: {fractions: [3], rare_fractions: [4, 3]}
coarse:
  folds: 2
  network: &network
    backbone: mobilenet_v2
    width: 0.1
    depth: 1
    decoder_channels: 8
    low_level_channels: 4
    dilations: []
    separable_decoder: true
    dropout: 0.1
    initialisation: torch
    pixel_mean: 0.5
    pixel_std: 0.25
  training: &training {batch_size: 8, length: 3 epochs, learning_rate: 0.01, precision: fp32}
  augmentation: &augmentation {crop_margin_step: 4, interpolation: bilinear}
classifier:
  network: {backbone: mobilenet_v2, width: 0.1, depth: 1, pixel_mean: 0.5, pixel_std: 0.25}
  training: {batch_size: 8, length: 7 steps, validate_every: 3 steps, validate_from: 0, learning_rate: 0.01}
  augmentation: {interpolation: bilinear}
enhanced:
  network: *network
  training: *training
  augmentation: *augmentation
calibration: {folds: 2}
evaluation: {bootstrap_samples: 20}
runtime: {device: cpu, workers: 2}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call whole rooms slow; of several processes, let one run the experiment while the others do files without it."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    needing = {item.path: None for item in items if "experiment" in getattr(item, "fixturenames", ())}
    # Sorting is stable: files stay whole, and so do what they share.
    order = dict.fromkeys(needing, 2) | dict.fromkeys(list(needing)[:1], 0)
    items.sort(key=lambda item: order.get(item.path, 1))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep graphs that tests export out of the user's own cache."""
    os.environ["MBDCNN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@contextlib.contextmanager
def quiet_bar(title: str) -> Iterator[Progress]:
    from mbdcnn.system.progress import silent

    yield silent


@pytest.fixture(scope="session")
def bar():
    return quiet_bar


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    file.write_text(SETTINGS)
    return file


@pytest.fixture(scope="session")
def tiny_config(config_file: Path):
    """Return a function giving the tiny configuration, with settings overridden."""
    from mbdcnn.config import load_config

    def make(*overrides: str) -> Config:
        return load_config(config_file, overrides)

    return make


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def raw(shared: Path) -> Path:
    """Generated images as ISIC-2017 lays them out. Not to be changed."""
    from filelock import FileLock

    from mbdcnn.data.synthetic import generate

    folder = shared / "generated"
    with FileLock(shared / "raw.lock"):
        if not folder.exists():
            generate(folder, IMAGES, size=(60, 44), seed=1)
    return folder


@pytest.fixture(scope="session")
def experiment(shared: Path, raw: Path, tiny_config) -> SimpleNamespace:
    """The whole pipeline, run by the first process that asks: `out`, `config`, and its `results`. Not to be changed."""
    from filelock import FileLock

    from mbdcnn.artifacts import Bundle, MaskSet, PreparedData, Report

    out = shared / "out"
    with FileLock(shared / "experiment.lock"):
        if not (out / "report").exists():
            from mbdcnn.pipeline import run

            run(raw, out, tiny_config(), quiet_bar)
    kinds = {"data": PreparedData, "masks": MaskSet, "bundle": Bundle, "report": Report}
    results = SimpleNamespace(**{name: kind.open(out / name) for name, kind in kinds.items()})
    return SimpleNamespace(out=out, config=tiny_config(), results=results)


@pytest.fixture(scope="session")
def data(experiment: SimpleNamespace):
    return experiment.results.data


@pytest.fixture(scope="session")
def bundle(experiment: SimpleNamespace):
    return experiment.results.bundle


@pytest.fixture(scope="session")
def sources(experiment: SimpleNamespace):
    """What training of classifier and enhanced-SN takes."""
    from mbdcnn.artifacts import Run
    from mbdcnn.training.fit import Sources

    runs = experiment.out / "runs"
    return Sources(experiment.results.masks, Run.open(runs / "coarse"), Run.open(runs / "classifier"))


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Commands as processes."""
    processes = Processes(tmp_path_factory.mktemp("processes"))
    yield processes
    processes.close()
