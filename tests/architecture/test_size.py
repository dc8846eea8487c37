"""Files and functions stay short enough to read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import mbdcnn

SOURCE = Path(mbdcnn.__file__).parent
FILE_LINES, FUNCTION_LINES = 350, 50


def test_files() -> None:
    lengths = {str(file.relative_to(SOURCE)): len(file.read_text().splitlines()) for file in SOURCE.rglob("*.py")}
    assert not {name: length for name, length in lengths.items() if length > FILE_LINES}


def test_functions() -> None:
    long = []
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                documented = ast.get_docstring(node, clean=False)
                length = node.end_lineno - node.lineno + 1 - (documented.count("\n") + 1 if documented else 0)
                if length > FUNCTION_LINES:
                    long.append(f"{file.name}: {node.name} has {length} lines")
    assert not long
