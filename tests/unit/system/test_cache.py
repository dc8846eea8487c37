from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mbdcnn.system.cache import cache_folder


@pytest.mark.parametrize(
    ("system", "variable", "otherwise"),
    [
        ("linux", "XDG_CACHE_HOME", Path.home() / ".cache"),
        ("win32", "LOCALAPPDATA", Path.home() / "AppData" / "Local"),
        ("darwin", None, Path.home() / "Library" / "Caches"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_caches(
    system: str, variable: str | None, otherwise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MBDCNN_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", system)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
        assert cache_folder() == tmp_path / "mbdcnn"
        monkeypatch.delenv(variable)
    assert cache_folder() == otherwise / "mbdcnn"


def test_a_place_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
