"""The doors that are promised are open."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import mbdcnn


def test_the_package_gives_the_predictor() -> None:
    from mbdcnn.inference.predictor import Predictor

    assert mbdcnn.Predictor is Predictor


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", mbdcnn.__version__)


def test_everything_that_models_and_data_offer_is_there() -> None:
    for name in ("mbdcnn.models", "mbdcnn.data"):
        module = importlib.import_module(name)
        assert all(hasattr(module, public) for public in module.__all__)


def test_types_are_shipped() -> None:
    assert (Path(mbdcnn.__file__).parent / "py.typed").is_file()


def test_no_module_is_a_bag_of_helpers() -> None:
    names = {file.stem for file in Path(mbdcnn.__file__).parent.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}
