"""README and docs: every command is one the program takes, every setting exists, every link leads somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mbdcnn.cli import parse
from mbdcnn.cli.verb import Configured
from mbdcnn.config import shipped_configs

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `mbdcnn` in a page, by itself or under torchrun."""
    found = []
    for language, block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines() if language in {"", "sh", "bash"} else ():
            words = (
                shlex.split(line, comments=True) if "mbdcnn" in line and "…" not in line and "──" not in line else []
            )
            if words and words[0] in {"mbdcnn", "torchrun"}:
                found.append(words[words.index("mbdcnn") + 1 :])
    return found


COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: value.stem if isinstance(value, Path) else " ".join(value)
)
def test_commands_are_taken(page: Path, words: list[str]) -> None:
    if words == ["--help"] or words[1:] == ["--help"]:
        return
    verb = parse(words)
    if isinstance(verb, Configured) and verb.config in {None, *shipped_configs()}:
        verb.load()


def test_the_test_sees_commands() -> None:
    assert len(COMMANDS) > 40
    assert ["train", "coarse", "--config", "paper"] in [words for _, words in COMMANDS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere_and_python_is_python(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target
    for language, block in blocks(page):
        if language == "python":
            compile(block, str(page), "exec")
