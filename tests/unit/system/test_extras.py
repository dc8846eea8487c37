"""How a missing library is told."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from mbdcnn import cli
from mbdcnn.system import extras
from mbdcnn.system.extras import extra_of, not_installed


def required(extra: str) -> list[str]:
    """Give what the installed package requires for an extra, as `pip` reads it."""
    found = [Requirement(each) for each in metadata.requires("mbdcnn") or []]
    return sorted(
        str(each).partition(";")[0].strip() for each in found if each.marker and each.marker.evaluate({"extra": extra})
    )


EXTRAS = {name: required(name) for name in ("train", "serve", "export", "dicom", "cluster", "hub")}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without any extra."""
    monkeypatch.setattr(extras, "installed_version", lambda name: None)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("extra", EXTRAS)
def test_the_remedy_names_the_very_packages_so_that_any_index_will_do(extra: str) -> None:
    message = str(not_installed("serve", extra))
    assert message.startswith("serve: ")
    command = message.partition("; ")[2]
    assert command.startswith("pip install ")
    assert sorted(re.findall(r"'([^']+)'", command)) == EXTRAS[extra]
    assert "mbdcnn" not in command


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "installed_version", lambda name: None if name == "lightning" else "1.0")
    pattern = r"train: lightning not installed \(the extra `train`\); pip install '(.*)'"
    found = re.fullmatch(pattern, str(not_installed("train", "train")))
    assert found is not None
    assert found[1] in EXTRAS["train"]


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("lightning.pytorch", "train"),
        ("python_multipart", "serve"),
        ("prometheus_client", "serve"),
        ("huggingface_hub", "hub"),
        ("pyarrow.parquet", "cluster"),
        ("torch", None),
        ("mbdcnn.absent", None),
        ("pytest", None),
    ],
)
def test_modules_and_their_extras(module: str, extra: str | None) -> None:
    assert extra_of(module) == extra


def test_from_sources_that_were_never_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras.metadata, "requires", unknown)
    assert extra_of("lightning") is None
    assert "pip install '.[train]'" in str(not_installed("train", "train"))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("line", "missing", "extra"),
    [
        ("demo", "lightning", "train"),
        ("run raw out", "lightning", "train"),
        ("train coarse", "lightning", "train"),
        ("serve", "fastapi", "serve"),
    ],
)
def test_a_verb_whose_extra_is_missing_says_so_in_one_line(
    line: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(self: object) -> None:
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    verb, *given = line.split()
    monkeypatch.setattr(cli.VERBS[verb], "run", absent)
    with pytest.raises(SystemExit) as end:
        cli.main([verb, *given])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"mbdcnn: {verb}: ")
    assert f"the extra `{extra}`); pip install '" in error


def test_other_missing_modules_are_not_the_users_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: object) -> None:
        raise ModuleNotFoundError("No module named 'mbdcnn.absent'", name="mbdcnn.absent")

    monkeypatch.setattr(cli.VERBS["info"], "run", absent)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["info"])
