"""Arrows go one way: no circle of files, and a room imports only from rooms below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mbdcnn

SOURCE = Path(mbdcnn.__file__).parent
ROOMS = (
    {"errors", "types", "_version"},
    {"system"},
    {"config"},
    {"artifacts", "metrics", "data.images"},
    {"models", "data.readers"},
    {"data", "data.download"},
    {"training", "inference"},
    {"bundling", "evaluation.report"},
    {"evaluation"},
    {"pipeline", "info", "serving", "__init__"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
"""From the lowest up. A room is a folder, or a file at the top. Rooms of one line do not import one another."""
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
Graph = dict[str, set[str]]


def named_in(file: Path, modules: set[str]) -> Iterator[str]:
    """Give each of the modules that a file imports, also in functions and for the type checker, or names in a string.

    Python imports the packages round a module too; they do not count, for they are not asked for anything.
    """
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & modules
            if inner - modules:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            yield node.value


def graph_of(source: Path) -> Graph:
    """Give for each file of a package the files that it imports, by their dotted names."""
    parts = {file: file.relative_to(source.parent).with_suffix("").parts for file in sorted(source.rglob("*.py"))}
    files = {".".join(names[:-1] if names[-1] == "__init__" else names): file for file, names in parts.items()}
    return {name: set(named_in(file, {*files})) & files.keys() for name, file in files.items()}


def circle_in(graph: Graph) -> list[str]:
    """Give the modules of one circle, in order; none if the arrows go one way."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def room_of(module: str) -> str:
    """Name the folder that a module lies in; at the top, the module."""
    inside = module.removeprefix("mbdcnn").removeprefix(".")
    if not inside:
        return "__init__"
    return inside if (SOURCE / inside.replace(".", "/")).is_dir() else inside.rpartition(".")[0] or inside


GRAPH = graph_of(SOURCE)


def test_no_circle_of_files() -> None:
    assert circle_in(GRAPH) == []


@pytest.mark.parametrize("module", GRAPH)
def test_imports_point_downwards(module: str) -> None:
    own = room_of(module)
    assert own in RANK, f"{own} has no place in the order yet"
    assert not {name for name in GRAPH[module] if room_of(name) != own and RANK[room_of(name)] >= RANK[own]}


def test_every_room_in_the_order_exists() -> None:
    assert {room_of(module) for module in GRAPH} == RANK.keys()


def test_few_files_lie_at_the_top() -> None:
    assert len(list(SOURCE.glob("*.py"))) <= 10


@pytest.mark.parametrize(
    "back",
    [
        "from house.upper import way\n",
        "import house.upper\n",
        "def later():\n    from house import upper\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.upper import way\n",
        "from importlib import import_module\nimport_module('house.upper')\n",
    ],
)
def test_a_circle_would_be_seen(tmp_path: Path, back: str) -> None:
    (house := tmp_path / "house").mkdir()
    (house / "__init__.py").touch()
    (house / "upper.py").write_text("from house.middle import way\n")
    (house / "middle.py").write_text("from house import lower\n")
    (house / "lower.py").touch()
    assert circle_in(graph_of(house)) == []
    (house / "lower.py").write_text(back)
    assert {*circle_in(graph_of(house))} == {"house.upper", "house.middle", "house.lower"}


def test_a_package_counts_where_it_is_asked_for_something(tmp_path: Path) -> None:
    (house := tmp_path / "house").mkdir()
    (house / "__init__.py").write_text("from house.room import door\n")
    (house / "room.py").write_text("from house import door\n")
    assert {*circle_in(graph_of(house))} == {"house", "house.room"}


def test_lightning_is_imported_by_training_alone() -> None:
    files = {
        file for file in SOURCE.rglob("*.py") if "lightning" in {name.split(".")[0] for name in named_in(file, set())}
    }
    assert {file.relative_to(SOURCE).parts[0] for file in files} == {"training"}
