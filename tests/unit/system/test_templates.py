"""Templates filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from mbdcnn.system.templates import render


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "package_with_templates"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name in ("page.html.j2", "card.md.j2"):
        (folder / name).write_text("{% if word %}\n{{ word }}\n{% endif %}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_pages_are_escaped_and_cards_are_not(package: str) -> None:
    assert render(package, "page.html.j2", {"word": "<b> & c"}) == "&lt;b&gt; &amp; c\n"
    assert render(package, "card.md.j2", {"word": "<b> & c"}) == "<b> & c\n"


def test_a_missing_value_is_an_error(package: str) -> None:
    with pytest.raises(UndefinedError, match="'word' is undefined"):
        render(package, "page.html.j2", {"words": "x"})
