"""Nothing that is finished is replaced unasked, whatever the command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mbdcnn.artifacts import Bundle, Export, MaskSet, PreparedData, Report, Run
from mbdcnn.cli import main


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--quiet"])
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


@pytest.fixture
def out(experiment, tmp_path: Path) -> Path:
    shutil.copytree(experiment.out, tmp_path / "out")
    return tmp_path / "out"


def commands(raw: Path, config: Path, out: Path, first: Path) -> dict[str, tuple[type, Path, list[object]]]:
    """Give what each command writes, where, and the command with something else than lies there."""
    runs, data, cpu = out / "runs", out / "data", ("--device", "cpu")
    settings = ("--config", config)
    return {
        "prepare": (PreparedData, data, ["prepare", raw, data, *settings, "--set", "data.scales=[32]"]),
        "train": (
            Run,
            runs / "coarse",
            ["train", "coarse", "--data", data, "--out", runs / "coarse", *settings, "--set", "seed=5"],
        ),
        "masks": (
            MaskSet,
            out / "masks",
            ["masks", "--coarse", runs / "coarse", "--data", data, "--out", out / "masks", *cpu],
        ),
        "bundle": (
            Bundle,
            out / "bundle",
            [
                *("bundle", "--coarse", runs / "coarse", "--classifier", runs / "classifier"),
                *("--enhanced", runs / "enhanced", "--out", out / "bundle", *cpu),
            ],
        ),
        "run": (Bundle, out / "bundle", ["run", raw, out, *settings, "--set", "calibration.sensitivities=[0.7]"]),
        "evaluate": (
            Report,
            out / "report",
            [
                *("evaluate", "--model", first, "--data", data, "--split", "validation"),
                *("--protocol", "fast", "--out", out / "report", *cpu),
            ],
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["prepare", "train", "masks", "bundle", "run", "evaluate"])
def test_a_finished_folder_stays_until_told(
    verb: str, raw: Path, config_file: Path, experiment, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, place, command = commands(raw, config_file, out, experiment.out / "bundle")[verb]
    before = kind.open(place).provenance
    code, _, error = call(capsys, *command)
    assert code == 1
    assert error.startswith(f"mbdcnn: {place}: ")
    assert error.count("\n") == 1
    assert "--overwrite" in error
    assert kind.open(place, verify=True).provenance == before
    # The remedy, pasted.
    code, _, error = call(capsys, *command, "--overwrite")
    assert (code, error) == (0, "")
    assert kind.open(place, verify=True).provenance.fingerprint != before.fingerprint
    # And the same once more asks for nothing.
    assert call(capsys, *command)[0] == 0


@pytest.mark.slow
def test_an_exported_graph_stays_until_told(experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", experiment.out / "bundle", "--format", "torch", "--out", tmp_path / "graph"]
    assert call(capsys, *command)[0] == 0
    file = tmp_path / "graph" / Export.filename
    text = file.read_text().replace(Export.open(tmp_path / "graph").provenance.identity, "of another model")
    file.write_text(text)
    code, _, error = call(capsys, *command)
    assert code == 1
    assert "a finished Export of other settings or sources lies there" in error
    assert file.read_text() == text
    assert call(capsys, *command, "--overwrite")[0] == 0
    assert "of another model" not in file.read_text()


def test_a_prediction_takes_a_folder_of_its_own_unless_one_is_named(
    raw: Path, experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = sorted(raw.rglob("*.jpg"))[:2]
    for name, file in (("a.jpg", first), ("b.jpg", second)):
        shutil.copyfile(file, name)
    model = ("--model", experiment.out / "bundle", "--device", "cpu", "--runtime", "torch")
    assert "written to predictions." in call(capsys, "predict", "a.jpg", *model)[1]
    before = {file: file.read_bytes() for file in Path("predictions").iterdir()}
    assert "written to predictions-2." in call(capsys, "predict", "b.jpg", *model)[1]
    assert {file: file.read_bytes() for file in Path("predictions").iterdir()} == before
    named = ["predict", "b.jpg", *model, "--out", "predictions"]
    code, _, error = call(capsys, *named)
    assert code == 1
    assert error == (
        "mbdcnn: predictions: results of an earlier prediction lie there; name another --out, or give --overwrite to "
        "replace them\n"
    )
    assert {file: file.read_bytes() for file in Path("predictions").iterdir()} == before
    Path("predictions/mine.txt").touch()
    assert call(capsys, *named, "--overwrite")[0] == 0
    names = {file.name for file in Path("predictions").iterdir()}
    assert "b_mask.png" in names
    assert "mine.txt" in names
    assert not [name for name in names if name.startswith("a_")]
