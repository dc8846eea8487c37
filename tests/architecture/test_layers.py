"""Arrows go one way: a module imports only from layers below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mbdcnn

SOURCE = Path(mbdcnn.__file__).parent
LAYERS = (
    {"system", "disk", "errors", "plain_yaml", "types", "progress", "processes", "threads"},
    {"calibration", "config", "device", "provenance", "manifest"},
    {"artifacts", "bootstrap", "losses", "metrics"},
    {"models", "data", "shipped"},
    {"training", "inference"},
    {"evaluation"},
    {"pipeline", "info", "serving"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted(SOURCE.rglob("*.py"))


def room(module: str) -> str:
    """The first name below the package, '' for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def imported(file: Path) -> set[str]:
    """Every module that is imported anywhere in a file, also inside functions and for the type checker."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names if node.module == "mbdcnn"}
    return names


def own_room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_point_downwards(file: Path) -> None:
    own = own_room(file)
    if own == "__init__":
        return
    assert own in RANK, f"{own} has no layer yet"
    rooms = {room(name) for name in imported(file) if name.startswith("mbdcnn.")} - {own, "__version__"}
    upwards = {name for name in rooms if name and RANK[name] >= RANK[own]}
    # In the two lowest layers single modules may use one another; a cycle would fail at import.
    assert not upwards - (LAYERS[RANK[own]] if RANK[own] < 2 else set())


def test_the_test_sees_imports(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("import a.b\nfrom mbdcnn.models import x\ndef f():\n    from mbdcnn import cli\n")
    assert imported(file) == {"a.b", "mbdcnn.models", "mbdcnn", "mbdcnn.cli"}


def test_lightning_is_imported_by_training_alone() -> None:
    users = {own_room(file) for file in FILES if any(name.split(".")[0] == "lightning" for name in imported(file))}
    assert users == {"training"}


def test_a_cycle_free_order_of_all_rooms() -> None:
    assert {own_room(file) for file in FILES} - {"__init__"} <= RANK.keys()
