from __future__ import annotations

from pathlib import Path

import pytest

from mbdcnn.config import load_config
from mbdcnn.errors import UserError
from mbdcnn.info import describe


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("data", "PreparedData"),
        ("runs/coarse", "Run"),
        ("masks", "MaskSet"),
        ("bundle", "Bundle"),
        ("report", "Report"),
    ],
)
def test_every_folder_says_what_it_is(experiment, folder: str, kind: str) -> None:
    facts = describe(str(experiment.out / folder))
    assert facts["kind"] == kind
    assert facts["path"] == str(experiment.out / folder)
    assert facts["tools"]["mbdcnn"]


def test_a_configuration_is_shown_in_full(config_file: Path) -> None:
    assert describe(str(config_file)) == load_config(config_file).model_dump(mode="json")


def test_a_folder_named_like_a_configuration_does_not_hide_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert describe("demo") == load_config("demo").model_dump(mode="json")


def test_anything_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder made by mbdcnn"):
        describe(str(tmp_path))
    with pytest.raises(UserError, match="no such configuration"):
        describe(str(tmp_path / "absent"))
