"""What messages say to do instead, done: the first command is refused, the one that its line names gets past it."""

from __future__ import annotations

import io
import re
import shlex
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from mbdcnn.cli import main
from mbdcnn.errors import UserError
from mbdcnn.serving.server import listen
from mbdcnn.system.processes import Processes
from sites import Site


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command and give its last line on standard error; nothing where it ends well."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "-q"])
    lines = capsys.readouterr().err.splitlines()
    assert bool(ended.value.code) == bool(lines), lines
    return lines[-1] if lines else ""


@pytest.mark.parametrize(
    ("given", "refusal", "instead", "next_missing"),
    [
        (
            "evaluate --data absent --model bundled --allow-missing",
            "--allow-missing goes with --predictions",
            "evaluate --data absent --model bundled --allow-missing --predictions theirs",
            "absent: no such PreparedData folder",
        ),
        (
            "evaluate --data absent --predictions theirs --compare bundled",
            "--compare and --stress need a model: evaluate --model BUNDLE --compare DIR_OR_CSV scores both",
            "evaluate --data absent --model bundled --compare theirs",
            "absent: no such PreparedData folder",
        ),
        (
            "train coarse --data absent --resume --overwrite",
            "train: give --resume or --overwrite, not both",
            "train coarse --data absent --resume",
            "absent: no such PreparedData folder",
        ),
        (
            "bundle --coarse absent --coarse-folds a b --classifier-folds c",
            "bundle: 2 --coarse-folds and 1 --classifier-folds; give one of each for every fold",
            "bundle --coarse absent --coarse-folds a b --classifier-folds c d",
            "a: no such Run folder",
        ),
        (
            "import-weights absent.pth other.pth --out out --as coarse",
            "import-weights: --as goes with one file",
            "import-weights absent.pth --out out --as coarse",
            "absent.pth: ",
        ),
        ("predict", "predict: name at least one image", "predict absent.jpg", "absent.jpg"),
        (
            "predict absent.jpg --list absent.txt",
            "predict: name at least one image, folder or pattern, or give --list; not both",
            "predict --list absent.txt --model bundled",
            "absent.txt",
        ),
        (
            "prepare absent data --set seed",
            "--set seed: expected KEY=VALUE, such as ",
            "prepare absent data --set EXAMPLE",
            "absent: no such file or folder",
        ),
    ],
)
def test_options_that_go_together_get_past_the_refusal(
    given: str,
    refusal: str,
    instead: str,
    next_missing: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = said(given.split(), capsys)
    assert refusal in line
    example = line.rpartition("such as ")[2]
    line = said(instead.replace("EXAMPLE", example).split(), capsys)
    assert next_missing in line
    assert refusal not in line


@pytest.mark.parametrize(
    ("given", "refusal", "instead"),
    [
        ("--workers 2", "--workers goes with --cluster; --cluster local starts them", "--workers 2 --cluster local"),
        ("--cluster local --workers 0", "--workers 0: give 1 or more", "--cluster local --workers 1"),
        ("--cluster local --json", "--cluster takes neither --json, --dicom, --overwrite", "--cluster local"),
    ],
)
def test_options_of_predicting_by_several_workers(
    given: str, refusal: str, instead: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
) -> None:
    cluster = pytest.importorskip("mbdcnn.inference.cluster")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    started = []

    def start(images: object, out: Path, cluster: object, *_: object, **__: object) -> SimpleNamespace:
        started.append(cluster)
        return SimpleNamespace(images=1, problems=0, out_of_distribution=0, written=1, held=SimpleNamespace(num_rows=0))

    monkeypatch.setattr(cluster, "predict_on_cluster", start)
    command = ["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert refusal in said([*command, *given.split()], capsys)
    assert not started
    assert said([*command, *instead.split()], capsys) == ""
    assert started[0].address == "local"


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_another_port_is_listened_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}: .* choose another --port or --host"):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", 0) as listener:
            assert listener.getsockname()[1] != port


def test_srun_with_the_option_that_it_lacked() -> None:
    environment = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
    with pytest.raises(UserError, match="give --ntasks-per-node"):
        Processes.started(environment)
    assert Processes.started(environment | {"SLURM_NTASKS_PER_NODE": "2"}) == Processes(3, 4, 2, 1)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_images_by_id_are_downloaded_and_prepared_as_the_lines_say(
    site: Site, raw: Path, config_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 80, 60)).save(image, "JPEG")
    site.files["/a.JPG"] = image.getvalue()
    clinical = '{"diagnosis_1": "Benign", "diagnosis_3": "Nevus"}'
    found = f"""{{"count": 1, "next": null, "previous": null, "results": [{{"isic_id": "ISIC_0000001",
        "files": {{"full": {{"url": "{site.address}/a.JPG", "size": {len(image.getvalue())}}}}},
        "metadata": {{"clinical": {clinical}}}}}]}}"""
    site.answers = lambda path: found.encode() if "/images/search/" in path else None
    command = ["download", "extra", "--to", "extra"]
    assert "download extra: give --ids, a file with the ids of the images" in said(command, capsys)
    (tmp_path / "ids.txt").write_text("ISIC_0000001\n")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--ids", "ids.txt", "--base-url", f"{site.address}/api/v2/", "-q"])
    assert not ended.value.code
    told = re.search(r"(\S+): 1 images .* next: prepare or run with (--extra)", capsys.readouterr().out)
    assert told is not None
    prepared = ["prepare", str(raw), "data", told[2], told[1], "--config", str(config_file)]
    assert said(prepared, capsys) == ""


@pytest.mark.slow
def test_the_demos_last_line_predicts_with_the_shipped_model(
    experiment: SimpleNamespace, raw: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
) -> None:
    image = next((raw / "ISIC-2017_Test_v2_Data").glob("*.jpg"))
    monkeypatch.setattr("mbdcnn.demo.demo", lambda out, bar: (experiment.results, image, tmp_path / "overlay.jpg"))
    monkeypatch.setattr(sys, "argv", ["mbdcnn"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["demo", "-q"])
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("    mbdcnn predict"))
    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(command)[1:], "--runtime", "torch", "-q"])
    assert not ended.value.code
    assert (tmp_path / "demo" / "shipped" / "predictions.csv").is_file()
