"""README and docs as tests read them: commands and Python, in the order in which a reader meets them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PIECE = re.compile(r"^```(\w*)\n(.*?)^```|`(mbdcnn [^`]+)`", re.M | re.S)
PROGRAMS = {"mbdcnn", "torchrun", "python", "make", "source", "pip", "find", "curl", "docker", "sbatch", "hf"}


@dataclass(frozen=True)
class Piece:
    """A command line, or a block of Python or YAML."""

    kind: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    @property
    def arguments(self) -> list[str] | None:
        """What `mbdcnn` is given, by itself or under torchrun; None for another program."""
        if self.kind != "command" or self.words[0] not in {"mbdcnn", "torchrun"}:
            return None
        return self.words[self.words.index("mbdcnn") + 1 :]


def pieces(page: Path) -> list[Piece]:
    """Give all of a page but tables, trees and patterns such as `mbdcnn train …`."""
    found = []
    for language, block, inline in PIECE.findall(page.read_text()):
        if inline:
            # Two words are the name of a command.
            lines = [inline] if len(inline.split()) > 2 else []
        elif language in {"", "sh", "bash"}:
            lines = [line for line in block.replace("\\\n", " ").splitlines() if line]
            if lines[0].split()[0] not in PROGRAMS:
                continue
            assert all(line.split()[0] in PROGRAMS for line in lines), f"{page}: {block}"
        else:
            found.append(Piece(language, block))
            continue
        found += [Piece("command", " ".join(line.split("\n"))) for line in lines if "…" not in line]
    return found
