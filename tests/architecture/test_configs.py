"""Every setting is explained, and used."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from pydantic import BaseModel

import mbdcnn
from mbdcnn.config import Config, Section

SECTIONS = Section.__subclasses__()
DEFINITIONS = {Path(inspect.getfile(section)) for section in SECTIONS}
BY_STRING = {
    "Data": {"longest_side"},
    **{stage: {"initial_weights"} for stage in ("Coarse", "Classifier", "Enhanced")},
}
"""Settings of which no attribute is read, for they are asked for by their names."""
TREES = [
    ast.parse(file.read_text())
    for file in sorted(Path(mbdcnn.__file__).parent.rglob("*.py"))
    if file not in DEFINITIONS
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_has_a_sentence(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        inner = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert inner or (field.description or "").strip(), f"{section.__name__}.{name}"


def holders(section: type[Section]) -> set[str]:
    """Give what a section is called where it is read: settings, parameters and attributes of that type."""
    found = {name for each in SECTIONS for name, field in each.model_fields.items() if field.annotation is section}
    for tree in TREES:
        nodes = list(ast.walk(tree))
        imported = [alias for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
        types = {alias.asname or alias.name for alias in imported if alias.name == section.__name__}
        for node in nodes:
            annotation = node.annotation if isinstance(node, ast.arg | ast.AnnAssign) else None
            if annotation and types & {leaf.id for leaf in ast.walk(annotation) if isinstance(leaf, ast.Name)}:
                found.add(node.arg if isinstance(node, ast.arg) else last_name(node.target))
    return found


def last_name(node: ast.expr) -> str:
    """Give `c` of `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_is_read_somewhere(section: type[Section]) -> None:
    """As an attribute of what holds such a section: that some image has a `width` does not count."""
    names = holders(section)
    attributes = [node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    read = {node.attr for node in attributes if last_name(node.value) in names}
    assert section.model_fields.keys() - read == BY_STRING.get(section.__name__, set())


def test_settings_read_by_their_names_as_strings_are() -> None:
    strings = {node.value for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert set().union(*BY_STRING.values()) <= strings


def test_unknown_keys_are_refused_in_every_section() -> None:
    assert all(section.model_config["extra"] == "forbid" for section in SECTIONS)
    assert Config in SECTIONS
