"""A sample of the soak run: odd, damaged and hostile images through every door of the program."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import doors
from bad_images import BadImage, bad_images, jpeg_of_scans, odd_places, png, small_bombs, tiff_of_a_tile, whole_images
from masks import decode_mask
from mbdcnn.cli import main
from mbdcnn.config import Config
from mbdcnn.data.images import limits, modes
from mbdcnn.data.images.decoding import decode, image_size
from mbdcnn.data.prepare import prepare
from mbdcnn.data.readers.folders import find_images
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError, on_one_line
from mbdcnn.inference.predict import predict_files
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.tables import unique_names
from mbdcnn.serving.app import create_app

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
"""As where the program runs: there warnings are no errors."""


@pytest.fixture(scope="module")
def sample() -> list[BadImage]:
    return list(bad_images(seed=2, count=60))


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(create_app(predictor)) as client:
        yield client


@pytest.fixture(params=["predict", "prepare", "serve"])
def door(request: pytest.FixtureRequest, predictor: Predictor, client: TestClient, tiny_config, tmp_path) -> doors.Door:
    made: dict[str, Callable[[], doors.Door]] = {
        "predict": lambda: doors.predicting(predictor, tmp_path),
        "prepare": lambda: doors.preparing(tiny_config(), tmp_path),
        "serve": lambda: doors.asking(client),
    }
    return made[request.param]()


@pytest.mark.slow
def test_every_image_ends_in_a_result_or_a_line(door: doors.Door, sample: list[BadImage]) -> None:
    outcomes = list(doors.through(door, sample))
    assert {outcome.reason is None for outcome in outcomes} == {True, False}


def test_the_sample_is_the_same_each_time_and_of_every_kind(sample: list[BadImage]) -> None:
    assert sample == list(bad_images(seed=2, count=60))
    assert sample != list(bad_images(seed=3, count=60))
    assert len({image.name for image in sample}) == 60
    assert any(image.whole for image in sample)
    assert len({image.kind.partition(", ")[2] for image in sample}) > 8


@pytest.mark.parametrize("kind", whole_images())
def test_odd_images_that_are_whole_are_read(kind: str) -> None:
    content = whole_images()[kind]
    image = decode(content)
    assert image.mode == "RGB"
    assert image_size(content) == image.size


@pytest.mark.parametrize("kind", small_bombs())
def test_bombs_are_refused_at_once(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(small_bombs()[kind])
    for source in (file, file.read_bytes()):
        for read in (decode, decode_mask):
            with pytest.raises(UserError) as caught:
                read(source)
            doors.check_reason(str(caught.value))
        with suppress(UserError):
            image_size(source)


def test_limits_let_through_what_people_have(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode(jpeg_of_scans(32, limits.SCAN_LIMIT - 20)).size == (32, 32)
    assert decode(tiff_of_a_tile(16, 512)).size == (16, 16)
    assert decode(png(limits.SIDE_LIMIT, 1)).size == (limits.SIDE_LIMIT, 1)
    monkeypatch.setattr("mbdcnn.data.images.decoding.SIDE_LIMIT", 59)
    with pytest.raises(UserError, match="or 59 on a side; make it smaller"):
        decode(whole_images()["png RGB"])


@pytest.mark.parametrize("kind", ["png RGBA", "png LA", "png I;16", "tif I", "png palette with transparency"])
def test_conversion_in_strips_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = whole_images()[kind]
    at_once = np.asarray(decode(content))
    monkeypatch.setattr(modes, "STRIP", 7 * 60)
    np.testing.assert_array_equal(np.asarray(decode(content)), at_once)
    assert at_once.any()


def test_links_pipes_and_devices(bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe would be waited for without end, /dev/zero read without end."""
    places = odd_places(tmp_path / "odd", whole_images()["png RGB"])
    for place in places:
        with suppress(UserError):
            assert decode(place).size == (60, 44)
    found = {file.name for file in find_images([str(tmp_path / "odd")]).images}
    assert found == {"link.png", "x" * 240 + ".png"}
    with pytest.raises(SystemExit) as finished:
        main(["predict", str(tmp_path / "odd"), "--model", str(bundle.path), "--out", str(tmp_path / "out"), "-q"])
    assert not finished.value.code, capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 2
    for name in ("pipe.png", "zero.png", "folder.png"):
        with pytest.raises(UserError, match=f"{name}: a folder, pipe or device, no image file"):
            decode(tmp_path / "odd" / name)
    for name in ("itself.png", "circle-a.png", "dangling.png"):
        with pytest.raises(UserError, match=f"{name}: (no such file|Too many levels of symbolic links)"):
            decode(tmp_path / "odd" / name)


def test_names_from_hell_on_the_command_line(
    bundle, sample: list[BadImage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for image in sample:
        (folder / image.name).write_bytes(image.content)
    command = ["predict", str(folder), "--model", str(bundle.path), "--out", str(tmp_path / "out"), "-q"]
    with pytest.raises(SystemExit) as finished:
        main([*command, "--tables-only"])
    assert finished.value.code == 1
    printed = capsys.readouterr()
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())
    problems = [entry["problem"] for entry in entries if "problem" in entry]
    assert len(entries) == len(find_images([str(folder)]).images) > 50
    assert len(problems) > 5
    for line in printed.out.splitlines() + printed.err.splitlines():
        assert line.isprintable()
    assert len(printed.out.splitlines()) == len(entries) + 1
    assert [line.removeprefix("mbdcnn: ") for line in printed.err.splitlines()[-len(problems) :]] == problems


def test_names_that_are_too_long_for_results_are_cut(predictor: Predictor, tmp_path: Path) -> None:
    content = whole_images()["png RGB"]
    files = [tmp_path / f"{letter * 80}{end}.png" for letter in "日a" for end in "12"]
    files += [tmp_path / f"{'b' * 249}.{ending}" for ending in ("png", "bmp")]
    for file in files:
        file.write_bytes(content)
    names = unique_names(files)
    assert len(set(names)) == len(files)
    assert names[2:4] == [file.stem for file in files[2:4]]
    assert max(len(os.fsencode(name)) for name in names) < 210
    entries = predict_files(predictor, files, tmp_path / "out")
    assert not [entry for entry in entries if "problem" in entry]


def test_what_a_terminal_would_act_upon_is_written_out() -> None:
    assert on_one_line("Müller 日本 🙂") == "Müller 日本 🙂"
    assert on_one_line("a\nb\x1b[2J\udcff\u202e") == "a\\nb\\x1b[2J\\udcff\\u202e"
    assert str(UserError("a\nb", "c")) == "a\\nb\nc"
    assert str(UserError("start" + "x" * 100_000 + "end")).startswith("startxxx")
    assert str(UserError("start" + "x" * 100_000 + "end")).endswith("xxxend")
    assert len(str(UserError("x" * 100_000))) < 1600


def test_cells_that_are_formulas_stay_text(predictor: Predictor, tmp_path: Path) -> None:
    """A spreadsheet would compute them, and some can start programs."""
    file = tmp_path / "=cmd|' "
    file.write_bytes(b"")
    predict_files(predictor, [file], tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())[0]["name"] == "=cmd|' "


def isic(root: Path) -> Path:
    generate(root, {"train": 2, "validation": 2, "test": 2}, size=(60, 44))
    return next(iter(sorted((root / "ISIC-2017_Training_Data").glob("*.jpg"))))


def authors(root: Path) -> Path:
    image = isic(root)
    for kind, inner in (("Data", "Images"), ("Part1_GroundTruth", "Annotation")):
        shutil.move(root / f"ISIC-2017_Training_{kind}", root / "images")
        (root / "ISIC-2017_Training_Data").mkdir(exist_ok=True)
        shutil.move(root / "images", root / "ISIC-2017_Training_Data" / inner)
    for name in ("Validation", "Test_v2"):
        shutil.rmtree(root / f"ISIC-2017_{name}_Data")
    return root / "ISIC-2017_Training_Data" / "Images" / image.name


def ph2(root: Path) -> Path:
    file = root / "PH2 Dataset images" / "IMD003" / "IMD003_Dermoscopic_Image" / "IMD003.bmp"
    file.parent.mkdir(parents=True)
    file.write_bytes(whole_images()["bmp RGB"])
    (root / "PH2_dataset.txt").write_text("|| IMD003 ||  || 0 ||\n")
    return file


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:300]),
    "empty": lambda file: file.write_bytes(b""),
    "another format": lambda file: file.write_bytes(whole_images()["png 300x200"]),
    "a bomb": lambda file: file.write_bytes(png(60_000, 60_000, rows=1)),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "a link to nothing": lambda file: (file.unlink(), file.symlink_to("nothing")),
    "a link to a device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("layout", [isic, authors, ph2])
def test_one_bad_image_in_each_layout(
    layout: Callable[[Path], Path], damage: str, tiny_config: Callable[[], Config], tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    file = layout(root)
    DAMAGES[damage](file)
    if damage == "another format" and layout is ph2:
        assert prepare(root, tmp_path / "data", tiny_config()).rows[0].width == 300
        return
    with pytest.raises(UserError, match=file.stem) as caught:
        prepare(root, tmp_path / "data", tiny_config())
    doors.check_reason(str(caught.value))
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / ".data.partial").exists()
