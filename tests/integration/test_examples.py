"""The examples do what they say."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mbdcnn.artifacts import Bundle
from mbdcnn.data.images.decoding import decode
from mbdcnn.errors import UserError
from mbdcnn.inference.predictor import Predictor
from mbdcnn.models import build_coarse, register_backbone
from mbdcnn.pipeline import run

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = [f"{stage}.training.length=2 steps" for stage in ("coarse", "classifier", "enhanced")]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_predict_a_folder(bundle, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, image in enumerate(sorted(raw.rglob("*.jpg"))[:3]):
        shutil.copyfile(image, tmp_path / f"{number}.jpg")
    (tmp_path / "bad.png").write_bytes(b"no image")
    example("predict_a_folder").main(str(bundle.path), tmp_path, tmp_path / "results")
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{tmp_path / 'bad.png'}: not an image")
    assert sorted(line.partition(":")[0] for line in told[1:]) == [
        str(tmp_path / f"{number}.jpg") for number in range(3)
    ]
    assert (tmp_path / "results" / "1_mask.png").is_file()
    entropies = {}
    with (tmp_path / "results" / "predictions.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            entropies[row["file"]] = row["uncertainty_entropy"]
    order = [float(entropies[line.partition(":")[0]]) for line in told[1:]]
    assert order == sorted(order, reverse=True)


def test_train_on_your_own(raw: Path, tiny_config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sorted(raw.rglob("*.jpg"))[:16]
    masks = {path.name.removesuffix("_segmentation.png"): path for path in raw.rglob("*_segmentation.png")}
    with (tmp_path / "images.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "mask", "label", "split"])
        for number, image in enumerate(images):
            split = "validation" if number % 4 == 0 else "train"
            writer.writerow([image, masks[image.stem], ("benign", "melanoma")[number // 4 % 2], split])
    config = tiny_config(*SHORT, "classes=[benign, melanoma]", "coarse.folds=0")
    example("train_on_your_own").main(tmp_path / "images.csv", tmp_path / "out", config)
    told = capsys.readouterr().out
    assert "melanoma" in told
    assert (tmp_path / "out" / "report" / "report.html").is_file()


def test_add_a_backbone(raw: Path, bar, tiny_config, config_file: Path, tmp_path: Path) -> None:
    before = tiny_config("coarse.network.backbone=plain")
    with pytest.raises(UserError, match="backbone plain: unknown; known are xception65, mobilenet_v2"):
        build_coarse(before)
    with pytest.raises(UserError, match="backbone plain: unknown"):
        run(raw, tmp_path / "out", before, bar)
    assert not (tmp_path / "out").exists()
    module = example("add_a_backbone")
    settings = [*SHORT, "coarse.network.backbone=plain", "enhanced.network.backbone=plain", "coarse.folds=0"]
    flags = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        module.main(["run", str(raw), str(tmp_path / "out"), "--config", str(config_file), "-q", *flags])
    assert not ended.value.code
    bundle = Bundle.open(tmp_path / "out" / "bundle")
    assert "encoder.to_stride_4.0.0.weight" in (bundle.weights("enhanced")).read_bytes()[:20000].decode("latin1")
    image = decode(next(raw.rglob("*.jpg")))
    assert Predictor.load(bundle.path).predict(image).mask.shape == (image.height, image.width)
    with pytest.raises(ValueError, match="there is one of this name"):
        register_backbone("plain", segmentation=module.PlainEncoder)


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[..., str]:
    """Run a SLURM script where `srun` starts one process and `mbdcnn` tells what it was given."""
    for name in ("srun", "mbdcnn"):
        stand_in = tmp_path / name
        stand_in.write_text('#!/bin/bash\nexec "$@"\n' if name == "srun" else '#!/bin/bash\necho "$@"\n')
        stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def told(script: str, *arguments: str) -> str:
        command = ["bash", EXAMPLES / script, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    return told


def test_the_slurm_script_trains_and_resumes(cluster: Callable[..., str], tmp_path: Path) -> None:
    assert cluster("train.sbatch", "coarse", "--config", "paper") == "train coarse --config paper --out runs/coarse\n"
    (tmp_path / "runs" / ".coarse.partial").mkdir(parents=True)
    told = cluster("train.sbatch", "coarse", "--config", "paper")
    assert told == "train coarse --config paper --out runs/coarse --resume\n"


def test_the_slurm_script_has_nothing_that_shellcheck_knows() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    subprocess.run(["shellcheck", EXAMPLES / "train.sbatch"], check=True)
