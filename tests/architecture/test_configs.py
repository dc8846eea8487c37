"""Every setting is explained, and used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

import mbdcnn
from mbdcnn import config as module
from mbdcnn.config import Config, Section

SECTIONS = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Section)]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_has_a_sentence(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        inner = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert inner or (field.description or "").strip(), f"{section.__name__}.{name}"


def test_every_setting_is_read_somewhere() -> None:
    source = Path(mbdcnn.__file__).parent
    code = "\n".join(file.read_text() for file in source.rglob("*.py") if file.name != "config.py")
    names = {name for section in SECTIONS for name in section.model_fields}
    unused = {name for name in names if f".{name}" not in code and f'"{name}"' not in code}
    assert not unused


def test_unknown_keys_are_refused_in_every_section() -> None:
    assert all(section.model_config["extra"] == "forbid" for section in SECTIONS)
    assert Config in SECTIONS
