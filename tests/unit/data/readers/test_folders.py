"""What is found in folders, and that nothing is passed over without a word."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.data.readers.folders import existing, find_images
from mbdcnn.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(name, "PNG")


def found(*sources: str) -> tuple[list[str], list[str]]:
    images = find_images(sources)
    return [str(file) for file in images.images], images.notes()


def test_every_ending_that_is_read_when_named() -> None:
    put(*(f"photos/{name}" for name in ("a.JFIF", "b.jp2", "c.jpe", "d.dib", "e.gif", "f.j2k", "no-ending")))
    images, notes = found("photos")
    assert [Path(name).name for name in images] == ["a.JFIF", "b.jp2", "c.jpe", "d.dib", "e.gif", "f.j2k", "no-ending"]
    assert notes == []


def test_files_of_other_kinds_are_named_with_the_remedy() -> None:
    put(
        "photos/a.jpg",
        "photos/1.HEIC",
        "photos/2.heif",
        "photos/3.avif",
        "photos/4.CR2",
        "photos/5.dng",
        "photos/x.bak",
    )
    Path("photos/notes.txt").write_text("not an image")
    kinds = "passed over 1.HEIC, 2.heif, 3.avif and 2 more: of a kind that cannot be read; save them as JPEG or PNG"
    content = "passed over x.bak: images by their content, but not by their names; give them an ending such as .jpg"
    assert found("photos") == (["photos/a.jpg"], [kinds, content])
    Path("photos/a.jpg").unlink()
    with pytest.raises(UserError, match=r"^photos: no images there; passed over 1\.HEIC, 2\.heif, 3.* of a k"):
        find_images(["photos"])


def test_hidden_files_and_links_are_said() -> None:
    put("photos/a.jpg", "photos/._a.jpg", "photos/__MACOSX/a.jpg", "photos/.thumbnails/a.jpg", "elsewhere/b.jpg")
    Path("photos/link").symlink_to("../elsewhere")
    Path("photos/gone.jpg").symlink_to("nowhere.jpg")
    images, notes = found("photos")
    assert images == ["photos/a.jpg"]
    assert notes == [
        "passed over link: a link to a folder; name it to have its images too",
        "passed over ._a.jpg: hidden files",
        "passed over gone.jpg: no file there, but a pipe, a device or a link to nothing",
    ]
    assert found("photos", "photos/link")[0] == ["photos/a.jpg", "photos/link/b.jpg"]


def test_dicom_files_without_an_ending() -> None:
    for name in ("IM0001", "1.2.840.113", "DICOMDIR", "notes"):
        Path("photos", name).write_bytes(bytes(128) + (b"" if name == "notes" else b"DICM"))
    assert found("photos") == (["photos/1.2.840.113", "photos/IM0001"], [])


def test_our_own_results_and_masks_are_no_images() -> None:
    put("IMG_1.jpg", "IMG_2.jpg", "IMG_1_mask.png", "masks/IMG_2-Mask.PNG", "IMG_1_superpixels.png")
    put(*(f"run1/IMG_1_{kind}" for kind in ("mask.png", "coarse.png", "cam.jpg", "overlay.jpg")))
    put(
        *(f"run2/other-2_{kind}" for kind in ("mask.png", "overlay.jpg")), "run3/other_mask.png", "data/truth/IMG_1.png"
    )
    Path("run3/predictions.csv").touch()
    Path("data/prepared.json").touch()
    images, (own, results) = found(".")
    assert images == ["IMG_1.jpg", "IMG_2.jpg"]
    assert own == "passed over data: a folder that mbdcnn wrote"
    assert results.startswith(
        "passed over IMG_1_mask.png, IMG_2-Mask.PNG, IMG_1_cam.jpg and 6 more: results or masks of"
    )
    assert found("IMG_1_mask.png")[0] == ["IMG_1_mask.png"]


def test_a_name_like_a_result_is_an_image_where_there_is_nothing_it_shows() -> None:
    put("photos/arm.jpg", "photos/arm_lesion.jpg", "photos/leg_mask.jpg", "photos/view_overlay.jpg")
    assert found("photos")[0] == [f"photos/{name}.jpg" for name in ("arm", "arm_lesion", "leg_mask", "view_overlay")]


def test_names_in_another_unicode_form_or_case() -> None:
    composed, split = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
    put(f"photos/{split}/{split}.jpg")
    asked = Path("photos", composed, f"{composed.upper()}.JPG")
    assert existing(asked) == Path("photos", split, f"{split}.jpg")
    assert found(str(asked))[0] == [f"photos/{split}/{split}.jpg"]
    put(f"photos/{split}/{split}.JPG".replace("M", "m"))
    assert existing(asked) is None
    assert existing(Path("photos", "absent", "a.jpg")) is None
