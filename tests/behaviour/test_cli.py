from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mbdcnn
from mbdcnn.cli import VERBS, main
from mbdcnn.evaluation.options import Options
from mbdcnn.system.rates import matrix_rates


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Run a command; return exit code, standard output and standard error."""
    capsys.readouterr()
    try:
        main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path, saying: str) -> None:
    code, _, error = call(capsys, *arguments, "-q")
    assert code == 1
    assert error.startswith("mbdcnn: ")
    assert error.count("\n") == 1
    assert saying in error


@pytest.mark.slow
def test_every_step_by_hand(capsys, raw: Path, config_file: Path, experiment, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    again = ("--config", str(config_file), "--set", "coarse.folds=0", "-q")
    coarse = ("--coarse", "runs/coarse")
    steps = (
        ("prepare", raw, "data", *again),
        ("train", "coarse", *again),
        ("masks", *coarse, "--device", "cpu", "-q"),
        ("train", "classifier", "--masks", "masks", *again),
        ("train", "enhanced", "--masks", "masks", *coarse, "--classifier", "runs/classifier", *again),
        ("bundle", "--data", "data", "--half", "--device", "cpu", "-q"),
        ("evaluate", "--model", "bundle", "--protocol", "fast", "--device", "cpu", "-q"),
    )
    said = []
    for step in steps:
        code, output, error = call(capsys, *step)
        assert (code, "keep-outline" in error) == (0, False), step
        said.append(output)
    assert "28 images from" in said[0]
    assert "runs/coarse: best validation jaccard 0." in said[1]
    assert "masks: coarse masks of" in said[2]
    assert "bundle: a model of" in said[5]
    assert "enhanced Jaccard" in said[6]
    assert "not a medical device" in said[6]
    assert {file.name for file in tmp_path.iterdir()} == {"data", "runs", "masks", "bundle", "report"}


def test_folds_of_one_network_alone_make_no_bundle(capsys, experiment) -> None:
    fails(capsys, "bundle", "--coarse-folds", "runs/coarse-fold0", saying="give one of each for every fold")


def test_run_does_what_is_not_yet_done(capsys, raw: Path, config_file: Path, experiment, tmp_path) -> None:
    out = Path(shutil.copytree(experiment.out, tmp_path / "out"))
    shutil.rmtree(out / "report")
    networks = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    code, output, error = call(capsys, "run", raw, out, "--config", config_file, "-q")
    assert (code, error) == (0, "")
    assert "mean AUC" in output
    assert str(out / "report" / "report.html") in output
    assert (out / "report" / "report.html").is_file()
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == networks


def test_progress_goes_to_standard_error_unless_quiet(capsys, raw: Path, config_file: Path, tmp_path) -> None:
    code, output, error = call(capsys, "prepare", raw, tmp_path / "data", "--config", config_file)
    assert code == 0
    assert "prepare" in error
    assert "28/28" in error
    assert "28/28" not in output


def test_what_is_predicted_served_and_scored_is_by_one_protocol_unless_told() -> None:
    verbs = ("predict", "serve", "evaluate", "run")
    defaults = [VERBS[verb].__dataclass_fields__["protocol"].default for verb in verbs]
    assert {*defaults, Options().protocol} == {"fast"}


def test_evaluate_as_json(capsys, experiment, tmp_path) -> None:
    where = ("--model", experiment.out / "bundle", "--data", experiment.out / "data", "--out", tmp_path / "report")
    code, output, _ = call(capsys, "evaluate", *where, "--protocol", "fast", "--device", "cpu", "--json", "-q")
    assert code == 0
    assert json.loads(output).keys() >= {"segmentation", "classification"}
    fails(capsys, "evaluate", *where, "--split", "train", saying="--allow-training-images")


def test_predict(capsys, bundle, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (44, 60, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "good.png")
    common = ("--model", bundle.path, "--out", tmp_path / "out", "--device", "cpu", "-q", "--overwrite")
    code, output, error = call(capsys, "predict", tmp_path / "in", *common)
    assert code == 0
    assert error.count("\n") == 1
    assert "good.png: does not look like the dermoscopy images" in error
    assert "good.png: unlike dermoscopy, so of little meaning: melanoma " in output
    assert "not a medical device" in output
    code, output, error = call(
        capsys, "predict", tmp_path / "in", *common, "--json", "--protocol", "paper", "--overwrite"
    )
    assert (code, error.count("does not look like")) == (0, 1)
    assert json.loads(output)[0]["protocol"] == "paper"
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no image")
    code, output, error = call(capsys, "predict", tmp_path / "in", *common)
    assert code == 1
    assert "good.png: unlike dermoscopy, so of little meaning: melanoma " in output
    assert error.count("\n") == 2
    assert "bad.jpg" in error


def test_predict_with_what_a_person_says(capsys, bundle, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (44, 60, 3), np.uint8)
    for folder in ("in", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    mask = np.zeros((44, 60), bool)
    mask[10:30, 20:40] = True
    common = ("predict", tmp_path / "in", "--model", bundle.path, "--out", tmp_path / "out", "--device", "cpu", "-q")
    fails(capsys, *common, "--masks", tmp_path / "masks", saying="no mask of 1 of 1 images: a;")
    Image.fromarray(mask).save(tmp_path / "masks" / "a_mask.png")
    sources = {
        "given": ("--masks", tmp_path / "masks"),
        "prompted": ("--points", "[[30, 20, 1], [50, 40, 0]]", "--box", "[15, 5, 45, 35]"),
    }
    for source, arguments in sources.items():
        code, output, error = call(capsys, *common, *arguments, "--json", "--overwrite")
        (entry,) = json.loads(output)
        assert (code, entry["coarse_mask_source"], entry["mask_source"]) == (0, source, "model")
        assert "masks are the model's final ones; --keep-outline takes the given outlines" in error
        code, output, error = call(capsys, *common, *arguments, "--keep-outline", "--overwrite")
        assert (code, "keep-outline" in error) == (0, False)
        assert "of the image, by the given outline" in output
        kept = [(tmp_path / "out" / f"a_{kind}.png").read_bytes() for kind in ("mask", "coarse")]
        assert kept[0] == kept[1]
    fails(capsys, *common, "--keep-outline", "--overwrite", saying="--keep-outline goes with --masks")
    with Image.open(tmp_path / "out" / "a_coarse.png") as coarse:
        assert np.asarray(coarse)[20, 30]
        assert not np.asarray(coarse)[:, 47:].any()
    fails(capsys, *common, "--points", "[[60, 0, 1]]", "--overwrite", saying="points: number 1 is not x, y, inside")
    fails(capsys, *common, "--points", "60,0,1", "--overwrite", saying="points: not a list in JSON, such as [[")
    fails(capsys, *common, "--box", "[1, 1, 9, 9]", "--cluster", "local", saying="--cluster takes neither --masks")
    Image.fromarray(pixels).save(tmp_path / "in" / "b.png")
    fails(
        capsys,
        *common,
        "--box",
        "[1, 1, 9, 9]",
        "--overwrite",
        saying="--points and --box are of one image, and there are 2",
    )


def test_info(capsys, experiment, tmp_path) -> None:
    code, output, _ = call(capsys, "info", "--json")
    assert code == 0
    facts = json.loads(output)
    assert facts["mbdcnn"] == mbdcnn.__version__
    assert "paper" in facts["configs"]
    code, output, _ = call(capsys, "info", experiment.out / "runs" / "coarse")
    assert code == 0
    assert "Run" in output
    assert json.loads(call(capsys, "info", "demo", "--json")[1])["data"]["image_size"] == 96
    fails(capsys, "info", tmp_path, saying="not a folder made by mbdcnn")


def test_version(capsys) -> None:
    assert call(capsys, "--version") == (0, f"mbdcnn {mbdcnn.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [(), ("fly",), ("train", "middle"), ("prepare",), ("info", "--loud"), ("evaluate", "--split", "all")],
)
def test_wrong_usage_is_two(capsys, arguments) -> None:
    code, output, error = call(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in error + output


def test_a_command_that_is_mistyped_is_told_the_nearest(capsys) -> None:
    assert call(capsys, "pedict", "a.jpg") == (2, "", "mbdcnn: pedict: no such command; did you mean predict?\n")
    assert "mbdcnn: fly: no such command; there are demo, download, " in call(capsys, "fly")[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(capsys, verb: str) -> None:
    code, output, error = call(capsys, verb, "--help")
    assert (code, error) == (0, "")
    assert "usage: mbdcnn" in output


def test_what_a_user_can_mend_is_one_line(capsys, raw: Path, config_file: Path, experiment, tmp_path) -> None:
    config = ("--config", config_file)
    fails(capsys, "prepare", tmp_path / "absent", tmp_path / "data", *config, saying="no such file or folder")
    fails(capsys, "prepare", raw, tmp_path / "data", "--config", "absent", saying="no such configuration")
    fails(capsys, "prepare", raw, tmp_path / "data", "--set", "sed=1", saying="unknown key 'sed'")
    fails(capsys, "train", "coarse", "--data", tmp_path, *config, saying="prepared.json is missing")
    data = ("--data", experiment.out / "data", "--out", tmp_path / "run", *config)
    fails(capsys, "train", "classifier", *data, saying="give --masks")
    fails(capsys, "train", "coarse", *data, "--fold", "4", saying="fold 4: expected NUMBER/FOLDS")
    fails(capsys, "train", "coarse", *data, "--resume", "--overwrite", saying="not both")
    fails(capsys, "train", "coarse", *data, "--set", "coarse.training.precision=fp16", saying="needs a GPU")
    classifier = experiment.out / "runs" / "classifier"
    fails(capsys, "masks", "--coarse", classifier, saying="a run of the classifier network where one of the coarse")
    fails(capsys, "bundle", "--coarse", tmp_path / "none", saying="no such Run folder")
    fails(capsys, "evaluate", "--model", experiment.out / "data", saying="not a Bundle folder")
    fails(capsys, "predict", raw, "--model", tmp_path / "none", saying="no such Bundle folder")
    fails(capsys, "predict", tmp_path / "none.jpg", "--model", tmp_path, saying="none.jpg: no such file or folder")
    fails(
        capsys, "predict", "https://a.org/b.jpg", saying="addresses are not read; fetch the image first: curl -O https"
    )
    (tmp_path / "file").write_text("x")
    fails(capsys, "prepare", raw, tmp_path / "file" / "data", *config, saying="file")


def test_ctrl_c_is_one_line(capsys, monkeypatch) -> None:
    def stop(path: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mbdcnn.info.describe", stop)
    code, _, error = call(capsys, "info")
    assert code == 130
    assert error == "mbdcnn: stopped; nothing was written, and what was there is as it was\n"


@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["train", "--help"], ["--version"]])
def test_light_commands_import_neither_torch_nor_lightning(arguments: list[str]) -> None:
    matrix_rates()  # which `info` measures, with torch, the first time on a machine
    program = (
        "import sys\nfrom mbdcnn.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as stop: assert not stop.code\n"
        "assert not {'torch', 'lightning', 'matplotlib', 'scipy'} & sys.modules.keys(), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, timeout=60)
