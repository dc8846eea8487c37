"""`tests/unit` mirrors the source: a file for each module, at the same place, and no other file."""

from __future__ import annotations

from pathlib import Path

import pytest

import mbdcnn

SOURCE = Path(mbdcnn.__file__).parent
TESTS = Path(__file__).parents[1]
SHORT = 60
"""Lines up to which a module needs no test file of its own."""
ELSEWHERE = {
    "unit/models/test_every_network.py": (
        "the same tests for every network",
        {"models/backbones", "models/classifier", "models/deeplab", "models/mbdcnn", "models/weights"},
    ),
    "unit/models/test_architectures.py": (
        "each encoder against its published layout",
        {"models/efficientnet", "models/mobilenet", "models/xception"},
    ),
    "unit/models/test_checkpoints.py": ("checkpoints are translated by it", {"models/names"}),
    "unit/artifacts/test_base.py": ("written and read with every artefact", {"artifacts/provenance"}),
    "unit/bundling/test_calibrate.py": ("what calibration writes is read there", {"artifacts/calibration"}),
    "unit/data/images/test_dicom.py": ("pixels are read by way of the file", {"data/images/dicom_pixels"}),
    "behaviour/test_bad_images.py": ("images of every mode, and damaged ones", {"data/images/modes"}),
    "behaviour/test_properties.py": ("records of any content", {"data/readers/records"}),
    "unit/evaluation/test_scoring.py": (
        "one summary is scored, whole",
        {
            "evaluation/classification",
            "evaluation/comparison",
            "evaluation/image_score",
            "evaluation/segmentation",
        },
    ),
    "unit/evaluation/report/test_write.py": (
        "the page is read whole",
        {f"evaluation/report/{name}" for name in ("charts", "gallery", "wording")},
    ),
    "integration/test_evaluate.py": (
        "trained networks are evaluated",
        {f"evaluation/{name}" for name in ("evaluate", "raw", "results", "robustness", "target")},
    ),
    "unit/inference/test_export.py": (
        "graphs are made and run in every runtime",
        {"inference/graphs", "inference/tracing"},
    ),
    "unit/inference/test_predictor.py": ("images of every kind are predicted", {"inference/given"}),
    "unit/inference/test_predict.py": ("tables are written by predicting", {"inference/tables"}),
    "integration/test_training.py": (
        "networks are trained",
        {
            "inference/masks",
            *(f"training/{name}" for name in ("classification", "engine", "fit", "group", "schedule", "task")),
        },
    ),
    "integration/test_cluster.py": ("workers are processes", {"inference/cluster"}),
    "unit/serving/test_app.py": (
        "asked over HTTP, as one application",
        {f"serving/{name}" for name in ("answers", "facts", "limits", "shield", "uploads")},
    ),
    "behaviour/test_serving_load.py": ("under load", {"serving/batching"}),
    "behaviour/test_cli.py": (
        "run as a user runs it",
        {f"cli/{name}" for name in ("__init__", "data", "evaluate", "info", "predict", "serving", "training", "verb")},
    ),
    "unit/config/test_loading.py": (
        "settings are read through it",
        {"system/yaml", "config/experiment", "config/networks", "config/training"},
    ),
}
"""Test files that try several modules together, why, and the modules that need no other file because of it."""
MODULES = {file.relative_to(SOURCE).with_suffix("").as_posix(): file for file in sorted(SOURCE.rglob("*.py"))}
UNITS = sorted((TESTS / "unit").rglob("test_*.py"))


def own_test(module: str) -> Path:
    """Where the test file of a module belongs."""
    folder, _, name = module.rpartition("/")
    return TESTS / "unit" / folder / f"test_{name}.py"


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.relative_to(TESTS).as_posix())
def test_every_test_file_has_its_module(file: Path) -> None:
    assert file in map(own_test, MODULES) or file.relative_to(TESTS).as_posix() in ELSEWHERE


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test_file(module: str) -> None:
    by_others = [name for name, (_, modules) in ELSEWHERE.items() if module in modules]
    if len(MODULES[module].read_text().splitlines()) > SHORT:
        assert own_test(module).is_file() != (len(by_others) == 1)


def test_exceptions_are_of_what_exists() -> None:
    assert all((TESTS / name).is_file() for name in ELSEWHERE)
    assert {module for _, modules in ELSEWHERE.values() for module in modules} <= MODULES.keys()
