"""YAML from anybody: plain values alone, and no more of them than a configuration has."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from mbdcnn.errors import UserError

BYTES = 100_000
"""Of a file; the largest configuration that ships has a tenth of it."""
VALUES = 10_000
"""With aliases written out: ten lines of them can stand for a billion values."""
KEYS = 300
"""In one mapping, with all that is merged into it."""
DEPTH = 100
"""Of brackets in brackets; at some hundreds the parser takes seconds before it gives up."""
_PLAIN = re.compile(r"[^\W\d][\w .+-]*")
"""Text that YAML may take as it stands."""


class _Loader(yaml.SafeLoader):
    """Makes no objects, and gives up where mappings are merged until the memory is full, or brackets never close."""

    def fetch_flow_collection_start(self, kind: Any) -> None:
        """Open a bracket."""
        super().fetch_flow_collection_start(kind)
        if self.flow_level > DEPTH:
            raise yaml.YAMLError(f"brackets nested more than {DEPTH} deep")

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what stands under `<<`."""
        super().flatten_mapping(node)
        if len(node.value) > KEYS:
            raise yaml.YAMLError(f"a mapping of more than {KEYS} keys")


def read_file(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        UserError: it cannot be read, is no text, too large, or not plain YAML.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(BYTES + 1)
        if len(content) > BYTES:
            raise UserError(f"{path}: larger than {BYTES // 1000} kB; give a configuration")
        return read(content.decode(), str(path))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; give a configuration in YAML") from None


def read(text: str, name: str) -> Any:
    """Read YAML, which messages call by `name`.

    Raises:
        UserError: it is not plain YAML, or aliases make too much of it.
    """
    try:
        value = yaml.load(text, _Loader)
        if _count(value, {}) > VALUES:
            raise yaml.YAMLError(f"more than {VALUES} values")
    # Dates that do not exist and the like are a ValueError, lists as keys a TypeError.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    return value


def quoted(value: object) -> str | None:
    """Give how to write what YAML took for a truth value or a number and should be text; None for anything else."""
    if isinstance(value, bool):
        return '"yes"' if value else '"no"'
    return f'"{value}"' if isinstance(value, int | float) else None


def _count(value: Any, known: dict[int, int]) -> int:
    """Count values as often as aliases repeat them; one that holds itself counts as too many."""
    if not isinstance(value, dict | list | set | tuple):
        return 1
    if id(value) not in known:
        known[id(value)] = VALUES + 1
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(each, known) for each in inner)
    return known[id(value)]


def option(key: str, value: object) -> str:
    """Write the option that gives a setting a value, to be pasted into a shell."""
    pair = f"{key}={_written(value)}"
    return f"--set {shlex.quote(pair)}"


def _written(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
