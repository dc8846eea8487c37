"""The steps of the authors' README, in order, on generated images with the paper's configuration made tiny."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.artifacts import MaskSet, PreparedData, Report, Run
from mbdcnn.cli import main

# What makes the paper's experiment tiny: everything else is paper.yaml as it stands.
TINY = {
    "data.image_size": "32",
    "data.segmentation_size": "64",
    "data.scales": "[32, 48]",
    "runtime.device": "cpu",
    "evaluation.bootstrap_samples": "20",
    **{
        f"{stage}.{setting}": value
        for stage, depth in (("coarse", 1), ("classifier", 1), ("enhanced", 1))
        for setting, value in {
            "network.width": "0.05",
            "network.depth": str(depth),
            "training.batch_size": "4",
            "training.length": "4 steps",
            "training.validate_every": "2 steps",
            "training.validate_from": "0",
        }.items()
    },
    "coarse.network.decoder_channels": "16",
    "enhanced.network.decoder_channels": "16",
}


def command(*arguments: object) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*map(str, arguments), "--quiet"])
    assert exit_.value.code == 0


@pytest.fixture
def extra_table(tmp_path: Path) -> Path:
    """Stand in for the extra 1320: images with a diagnosis and no mask, in three classes."""
    with (tmp_path / "extra.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "mask", "label", "split"])
        for number, label in enumerate(("nevus", "melanoma", "seborrheic_keratosis")):
            Image.new("RGB", (60, 44), (90 + 40 * number, 80, 60)).save(tmp_path / f"extra{number}.jpg")
            writer.writerow([f"extra{number}.jpg", "", label, "train"])
    return tmp_path / "extra.csv"


def test_all_steps(raw: Path, extra_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    settings = ["--config", "paper", *(part for item in TINY.items() for part in ("--set", "=".join(item)))]

    # 1. Data preparation: ISIC-2017 and the extra images, patches of 9 and 15 views, resized images, lists.
    command("prepare", raw, out / "data", "--extra", extra_table, *settings)
    data = PreparedData.open(out / "data")
    views = {(row.split, row.label): len(row.views) for row in data.rows}
    assert views[("train", 0)] == 9
    assert views[("train", 1)] == views[("train", 2)] == 15
    assert views[("test", 1)] == 9
    extra = [row for row in data.rows if row.id.startswith("extra")]
    assert [row.training_row for row in extra] == [None, None, None]
    assert all(row.label is not None for row in extra)

    # 2. Training coarse-SN.
    command("train", "coarse", "--data", out / "data", "--out", out / "coarse", *settings)

    # 3. Generating coarse masks, for every patch of the classifier and the whole images of enhanced-SN.
    command("masks", "--coarse", out / "coarse", "--data", out / "data", "--out", out / "masks")
    assert len(MaskSet.open(out / "masks").patches) == len(data.patches)

    # 4. Training mask-CN.
    masks = ("--data", out / "data", "--masks", out / "masks")
    command("train", "classifier", *masks, "--out", out / "classifier", *settings)
    assert Run.open(out / "classifier").provenance.facts["training_images"] == 16 + 3

    # 5. Training enhanced-SN with the class activation maps.
    runs = ("--coarse", out / "coarse", "--classifier", out / "classifier")
    command("train", "enhanced", *masks, *runs, "--out", out / "enhanced", *settings)
    assert Run.open(out / "enhanced").provenance.facts["training_images"] == 16

    # 6. Evaluation of both tasks by the paper's protocol.
    command("bundle", *runs, "--enhanced", out / "enhanced", "--out", out / "bundle")
    capsys.readouterr()
    command("evaluate", "--model", out / "bundle", "--data", out / "data", "--out", out / "report", "--json")
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == Report.open(out / "report").metrics
    assert 0 <= metrics["segmentation"]["enhanced"]["jaccard"]["value"] <= 1
    assert 0 <= metrics["classification"]["mean_auc"]["value"] <= 1
