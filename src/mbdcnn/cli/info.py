"""The command that says what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from mbdcnn.cli.verb import Verb


@dataclass(kw_only=True)
class Info(Verb):
    """Say what is installed, or what a folder or configuration is and how it was made."""

    path: Positional[str | None] = None
    """A folder made by mbdcnn, `bundled` for the model that comes with it, or the name or file of a configuration."""
    json: bool = False
    """Print as JSON."""

    def run(self) -> None:
        """Look and tell."""
        from mbdcnn.info import describe

        facts = describe(self.path)
        if self.json:
            print(json.dumps(facts, indent=2))
        else:
            print("\n".join(_lines(facts)))


def _lines(facts: dict[str, Any], margin: str = "") -> Iterator[str]:
    """Lay facts out, a line each, what lies within others further in."""
    for name, value in facts.items():
        inner = [value] if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
        if inner and all(isinstance(each, dict) for each in inner):
            for each in inner:
                yield f"{margin}{name}"
                yield from _lines(each, f"{margin}  ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield f"{margin}{name:<{30 - len(margin)}} {text}"
