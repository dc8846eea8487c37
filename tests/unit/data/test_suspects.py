"""Masks that deserve a look, and those that can only be a mistake."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from mbdcnn.config import load_config
from mbdcnn.data.images.decoding import read_mask
from mbdcnn.data.prepare import prepare, summary_lines
from mbdcnn.errors import UserError

SIZE = (60, 44)
CONFIG = load_config(None, ["data.image_size=32", "data.segmentation_size=32", "data.scales=[32]", "runtime.workers=1"])


def outline(number: int = 0) -> Image.Image:
    mask = Image.new("L", SIZE, 0)
    ImageDraw.Draw(mask).ellipse((10 + number, 12, 30 + number, 30), fill=255)
    return mask


FULL, EMPTY = Image.new("L", SIZE, 255), Image.new("L", SIZE, 0)
INVERTED = ImageOps.invert(outline())
LARGE = outline()
ImageDraw.Draw(LARGE).rectangle((0, 6, 59, 38), fill=255)
ImageDraw.Draw(LARGE).rectangle((8, 0, 50, 43), fill=255)


FRAMED = outline()
ImageDraw.Draw(FRAMED).rectangle((0, 0, 59, 43), outline=255)
FRAMED_INVERTED = ImageOps.invert(FRAMED)
LESION_TRANSPARENT = Image.fromarray((np.asarray(outline()) > 0).astype(np.uint8), "P")
LESION_TRANSPARENT.putpalette([0, 0, 0, 255, 0, 0])
LESION_TRANSPARENT.info["transparency"] = 1


def table(
    folder: Path, masks: dict[str, Image.Image], split: str = "train", header: str = "id,image,mask,split"
) -> Path:
    """Write images that all differ, with the masks given by id."""
    lines = [header]
    for number, (name, mask) in enumerate(masks.items()):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (44, 60, 3), np.uint8)).save(folder / f"{name}.png")
        mask.save(folder / f"{name}_mask.png")
        lines.append(f"{name},{name}.png,{name}_mask.png,{split}")
    (folder / "t.csv").write_text("\n".join(lines))
    return folder / "t.csv"


def said(folder: Path, file: Path) -> list[str]:
    return summary_lines(prepare(file, folder / "data", CONFIG))[2:]


def test_what_is_usual_is_not_said(tmp_path: Path) -> None:
    assert said(tmp_path, table(tmp_path, {"a": outline(), "b": outline(3), "c": LARGE})) == []


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        (EMPTY, "empty masks: 1 (x)"),
        (FULL, "warning: masks that call the whole image lesion: 1 (x)"),
        (INVERTED, "warning: masks with lesion all along the edge and skin inside, as if inverted: 1 (x)"),
        (FRAMED, "warning: masks with a bright frame along the edge, which counts as lesion: 1 (x)"),
        (FRAMED_INVERTED, "warning: masks with lesion all along the edge and skin inside, as if inverted: 1 (x)"),
        (
            outline(9).resize((30, 22)).resize(SIZE, Image.Resampling.BILINEAR),
            "masks with grey edges, as compression and resizing leave them, cut at half: 1 (x)",
        ),
    ],
)
def test_single_masks_are_told(tmp_path: Path, mask: Image.Image, line: str) -> None:
    (told,) = said(tmp_path, table(tmp_path, {"a": outline(), "b": outline(3), "x": mask}))
    assert told == line


def test_the_same_mask_for_different_images(tmp_path: Path) -> None:
    masks = {"a": outline(), "b": outline(3), "c": outline(), "d": EMPTY, "e": EMPTY}
    file = table(tmp_path, masks)
    assert said(tmp_path, file)[-1] == "warning: the same mask for different images: 1 (a = c)"
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert not [line for line in said(tmp_path, file) if "same mask" in line]


@pytest.mark.parametrize("name", ["b_mask.png", "B_segmentation.png", "b.png"])
def test_a_mask_named_after_another_image(tmp_path: Path, name: str) -> None:
    file = table(tmp_path, {"a": outline(), "b": outline(3)})
    (tmp_path / "m").mkdir()
    outline(7).save(tmp_path / "m" / name)
    file.write_text(file.read_text().replace("a.png,a_mask.png", f"a.png,m/{name}"))
    assert said(tmp_path, file) == [f"warning: masks named after another image: 1 (a: {name})"]


def test_masks_under_names_of_their_own_are_not_suspected(tmp_path: Path) -> None:
    file = table(tmp_path, {"x1": outline(), "x2": outline(3)})
    (tmp_path / "x1_mask.png").rename(tmp_path / "outline of the first.png")
    file.write_text(file.read_text().replace("x1_mask.png", "outline of the first.png"))
    assert said(tmp_path, file) == []


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_of_full_masks_is_refused(tmp_path: Path, split: str) -> None:
    file = table(tmp_path, {"a": FULL, "b": FULL}, split)
    with pytest.raises(
        UserError, match=rf"a_mask\.png: like 2 of the 2 masks of the {split} images, it calls the whole"
    ):
        prepare(file, tmp_path / "data", CONFIG)
    assert not (tmp_path / "data").exists()


def test_a_split_of_inverted_masks_is_refused_and_the_remedy_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table(tmp_path, {"a": INVERTED, "b": ImageOps.invert(outline(4)), "c": ImageOps.invert(LARGE)})
    with pytest.raises(UserError, match=r"like 2 of the 3 masks of the train images.*inverted") as caught:
        prepare(file, tmp_path / "data", CONFIG)
    _, _, program, first, _ = shlex.split(str(caught.value).partition("invert these masks: ")[2])
    monkeypatch.setattr("sys.argv", ["-c", first, *(str(tmp_path / f"{name}_mask.png") for name in "bc")])
    exec(program, {})
    assert said(tmp_path, file) == []
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "a_mask.png").image), np.asarray(outline()) > 0)


@pytest.mark.parametrize(
    ("mask", "remedy"),
    [(FRAMED, "Fill it: "), (LESION_TRANSPARENT, "invert these masks: ")],
    ids=["framed", "lesion transparent"],
)
def test_the_remedy_leaves_the_lesion_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: Image.Image, remedy: str
) -> None:
    file = table(tmp_path, {"a": mask, "b": mask})
    with pytest.raises(UserError, match=r"a_mask\.png: like 2 of the 2 masks") as caught:
        prepare(file, tmp_path / "data", CONFIG)
    _, _, program, first, _ = shlex.split(str(caught.value).partition(remedy)[2])
    monkeypatch.setattr("sys.argv", ["-c", first, str(tmp_path / "b_mask.png")])
    exec(program, {})
    prepare(file, tmp_path / "data", CONFIG)
    np.testing.assert_array_equal(np.asarray(read_mask(tmp_path / "a_mask.png").image), np.asarray(outline()) > 0)


def test_a_split_of_empty_masks_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path, {"a": EMPTY, "b": EMPTY}, "validation")
    with pytest.raises(UserError, match=r"a_mask\.png: like all 2 masks of the validation images, it is empty"):
        prepare(file, tmp_path / "data", CONFIG)


def test_one_mask_alone_proves_nothing(tmp_path: Path) -> None:
    for mask in (FULL, INVERTED):
        (line,) = said(tmp_path, table(tmp_path, {"a": mask}))
        assert line.startswith("warning: masks ")


def test_ignored_profiles_and_turned_masks_are_told(tmp_path: Path) -> None:
    file = table(tmp_path, {"a": outline(), "b": outline(3)})
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "a.png", icc_profile=b"no profile")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(tmp_path / "b.png") as image:
        image.save(tmp_path / "b.png", exif=exif.tobytes())
    assert said(tmp_path, file) == [
        "masks turned with their images, as EXIF says: 1 (b)",
        "images with a colour profile that is damaged or of another kind, which was ignored: 1 (a)",
    ]
