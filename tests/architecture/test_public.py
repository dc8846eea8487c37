"""The doors that are promised are open."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import yaml

import mbdcnn

OFFERED = {
    "mbdcnn": [
        "MBDCNN",
        "CoarseSegmenter",
        "Config",
        "EnhancedSegmenter",
        "MaskGuidedClassifier",
        "Prediction",
        "Predictor",
        "UserError",
        "__version__",
        "load_config",
    ],
    "mbdcnn.models": [
        "MBDCNN",
        "Classification",
        "CoarseSegmenter",
        "EnhancedSegmenter",
        "MaskGuidedClassifier",
        "Outputs",
        "build_classifier",
        "build_coarse",
        "build_enhanced",
        "build_network",
        "guide",
        "register_backbone",
    ],
    "mbdcnn.data": ["RawData", "Record", "read_raw"],
}
"""Literally, so that nobody adds, renames or drops a public name without meaning to."""


def test_the_package_gives_the_predictor() -> None:
    from mbdcnn.inference.predictor import Predictor

    assert mbdcnn.Predictor is Predictor


def test_the_doors_are_listed() -> None:
    assert {*OFFERED["mbdcnn"]} <= {*dir(mbdcnn)}
    assert not [name for name in dir(mbdcnn) if not name.startswith("__") and name not in OFFERED["mbdcnn"]]


def test_the_version_is_one() -> None:
    file = Path(mbdcnn.__file__).with_name("_version.py")
    assert re.findall(r'^__version__ = "(.+)"$', file.read_text(), re.M) == [mbdcnn.__version__]
    citation = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text())
    assert citation["version"] == mbdcnn.__version__


def test_just_what_is_promised_is_offered() -> None:
    for name, names in OFFERED.items():
        module = importlib.import_module(name)
        assert sorted(module.__all__) == sorted(names)
        assert all(hasattr(module, public) for public in names)


def test_types_are_shipped() -> None:
    assert (Path(mbdcnn.__file__).parent / "py.typed").is_file()


def test_no_module_is_a_bag_of_helpers() -> None:
    names = {file.stem for file in Path(mbdcnn.__file__).parent.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}
