"""The same images, wherever they lie and whenever their files were changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import mbdcnn.data.prepare as prepare_module
from mbdcnn.artifacts import PreparedData
from mbdcnn.config import Config, load_config
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate

SETTINGS = ["data.image_size=32", "data.segmentation_size=48", "data.scales=[32, 48]", "runtime.workers=2"]
CONFIG: Config = load_config(None, SETTINGS)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    generate(tmp_path / "raw", {"train": 4, "validation": 4}, (64, 48))
    return tmp_path / "raw"


def _touch(raw: Path) -> Path:
    for number, file in enumerate(sorted(raw.rglob("*"))):
        os.utime(file, (number, number))
    return raw


def _copy(raw: Path) -> Path:
    return Path(shutil.copytree(raw, raw.parent / "elsewhere" / "another name", copy_function=shutil.copyfile))


def _move(raw: Path) -> Path:
    return raw.rename(raw.parent / "moved")


@pytest.mark.parametrize("change", [_touch, _copy, _move])
@pytest.mark.parametrize("layout", ["folder", "table"])
def test_images_of_equal_content_are_the_same_data_wherever_and_whenever(
    raw: Path, tmp_path: Path, change, layout: str
) -> None:
    """What comes after is trained again only if the fingerprint is another."""
    if layout == "table":
        lines = [
            f"{file.relative_to(raw)},melanoma,{'train' if number % 2 else 'test'}"
            for number, file in enumerate(sorted(raw.glob("*/SYN_???????.jpg")))
        ]
        (raw / "t.csv").write_text("\n".join(["image,label,split", *lines]))
    name = "t.csv" if layout == "table" else ""
    first = prepare(raw / name, tmp_path / "out", CONFIG)
    written = (tmp_path / "out" / "patches.npy").stat().st_mtime_ns
    changed = change(raw)
    steps: list[object] = []
    again = prepare(changed / name, tmp_path / "out", CONFIG, lambda *done: steps.append(done))
    assert not steps
    assert again.provenance.fingerprint == first.provenance.fingerprint
    assert (tmp_path / "out" / "patches.npy").stat().st_mtime_ns == written
    assert prepare(changed / name, tmp_path / "other", CONFIG).provenance.fingerprint == first.provenance.fingerprint
    assert PreparedData.open(tmp_path / "out", verify=True).provenance == again.provenance


def test_files_that_were_found_to_be_the_same_are_not_read_the_next_time(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(raw, tmp_path / "out", CONFIG)
    prepare(_touch(raw), tmp_path / "out", CONFIG)
    monkeypatch.setattr(prepare_module, "content", lambda *_: pytest.fail("read again"))
    prepare(raw, tmp_path / "out", CONFIG)


def test_another_image_of_the_same_name_is_other_data(raw: Path, tmp_path: Path) -> None:
    first = prepare(raw, tmp_path / "out", CONFIG)
    pixels = first.rows[0].pixels
    images = sorted((raw / "ISIC-2017_Training_Data").glob("SYN_???????.jpg"))
    with Image.open(images[0]) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(images[0])
    second = prepare(raw, tmp_path / "out", CONFIG)
    assert second.provenance.fingerprint != first.provenance.fingerprint
    assert second.rows[0].pixels != pixels


def test_sources_are_named_within_the_raw_folders(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for folder in (tmp_path / "far", raw):
        with Image.open(next(raw.glob("*/SYN_0000000.jpg"))) as image:
            image.rotate(90 * len(folder.name)).save(folder / f"{folder.name}.png")
    (raw / "t.csv").write_text(f"image,label,split\nraw.png,nevus,train\n{tmp_path}/far/far.png,nevus,train\n")
    data = prepare(raw, tmp_path / "out", CONFIG, extra=[raw / "t.csv"])
    sources = {row.id: row.source for row in data.rows}
    assert sources["SYN_0000000"] == "ISIC-2017_Training_Data/SYN_0000000.jpg"
    assert sources["raw"] == "extra 1/raw.png"
    assert sources["far"].endswith(f"{tmp_path}/far/far.png")
