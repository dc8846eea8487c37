"""README and docs: every command is one the program takes, every setting exists, every link leads somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mbdcnn.cli import parse
from mbdcnn.cli.verb import Configured
from mbdcnn.config import shipped_configs
from pages import PAGES, ROOT, pieces

LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)")
COMMANDS = [(page, piece.arguments) for page in PAGES for piece in pieces(page) if piece.arguments is not None]


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
    for target, place in LINK.findall(page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not place or place in places(linked), f"{target}#{place}"
    for piece in pieces(page):
        if piece.kind == "python":
            compile(piece.text, str(page), "exec")


def places(page: Path) -> set[str]:
    """Give the names under which headings can be linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_extras_that_are_to_be_installed_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = {piece.text for page in PAGES for piece in pieces(page) if piece.text.startswith("pip install ")}
    named = {
        name
        for text in installed
        for group in re.findall(r"(?:mbdcnn|\.)\[([\w,]+)\]", text)
        for name in group.split(",")
    }
    assert {"serve", "export", "dicom", "tables", "hub"} <= named <= extras.keys()


def test_no_line_installs_from_an_index_that_does_not_hold_this_package() -> None:
    """Nor does any message: whoever took the name there would own every machine that follows it."""
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    files = [
        *PAGES,
        *ROOT.glob("*.*"),
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "src").rglob("*.md"),
        ROOT / "Dockerfile",
    ]
    lines = [line for file in files if file.is_file() for line in file.read_text(errors="ignore").splitlines()]
    ours = [line for line in lines if re.search(r"pip3? install.*\bmbdcnn\b", line)]
    assert ours == [f"pip install 'mbdcnn[serve] @ git+{address}'"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"repository-code: {address}\n" in citation
