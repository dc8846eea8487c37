"""Raw data and downloads that seldom go wrong in these ways: told in one line, nothing left half done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from bad_images import png, saved, whole_images
from dicom_files import lesion, palette, photograph
from masks import decode_mask
from mbdcnn.data import prepare, read_raw
from mbdcnn.data.download import http as fetch
from mbdcnn.data.images.decoding import decode, decode_opened, image_size
from mbdcnn.data.readers import authors, ph2
from mbdcnn.errors import UserError

if TYPE_CHECKING:
    from sites import Site

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


class TestImages:
    def test_one_that_was_loaded_before_is_taken_as_its_file(self) -> None:
        for kind in ("jpg RGB", "jpg turned 6", "png RGBA", "tif I;16"):
            image = Image.open(BytesIO(whole_images()[kind]))
            image.load()
            np.testing.assert_array_equal(np.asarray(decode_opened(image)), np.asarray(decode(whole_images()[kind])))

    def test_an_opened_one_that_ends_too_soon(self) -> None:
        content = whole_images()["jpg RGB"]
        with (
            Image.open(BytesIO(content[:-100])) as image,
            pytest.raises(UserError, match=r"^the image: cannot be decoded"),
        ):
            decode_opened(image)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_an_orientation_that_is_no_number_turns_nothing(self, kind: str) -> None:
        exif = TiffImagePlugin.ImageFileDirectory_v2()
        exif.tagtype[0x0112] = 2
        exif[0x0112] = "upside down"
        content = saved(Image.fromarray(lesion(60, 44)), kind, exif=b"Exif\0\0" + exif.tobytes())
        assert decode(content).size == image_size(content) == (60, 44)

    def test_pixels_that_are_fractions_are_no_image(self) -> None:
        content = saved(Image.new("F", (3, 2), 0.5), "TIFF")
        with pytest.raises(UserError, match="its pixels are floating-point numbers"):
            decode(content)
        assert decode_mask(content).all()

    @pytest.mark.parametrize(("part", "value"), [("Red{}Data", b"\0\0"), ("Green{}Descriptor", [256, 0, 12])])
    def test_a_dicom_palette_that_is_none(self, part: str, value: object) -> None:
        table = palette(np.eye(256, 3).astype(np.uint8)) | {part.format("PaletteColorLookupTable"): value}
        with pytest.raises(UserError, match="whose palette is not a plain table; save it as RGB"):
            decode(photograph(np.ascontiguousarray(lesion()[..., 0]), "PALETTE COLOR", **table))


class TestLayouts:
    def test_a_file_that_is_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "notes.md").write_text("")
        with pytest.raises(UserError, match="not a data set that is recognised"):
            read_raw(tmp_path / "notes.md", CLASSES)

    def test_the_authors_folders_with_one_image_in_two_splits(self, tmp_path: Path) -> None:
        rows = "image_id,melanoma,seborrheic_keratosis\nISIC_1,0,0\n"
        for split in ("train", "test"):
            name = authors.SPLIT_NAMES[split]
            (tmp_path / f"{name}_Data" / "Images").mkdir(parents=True)
            (tmp_path / f"{name}_Data" / "Images" / "ISIC_1.jpg").write_bytes(whole_images()["jpg RGB"])
            (tmp_path / f"{name}_Part3_GroundTruth.csv").write_text(rows)
        with pytest.raises(UserError, match=r"ISIC_1 lies in two splits: .*Training_Data.*Testing_Data.*; remove one"):
            read_raw(tmp_path, CLASSES)

    def test_ph2_without_images(self, tmp_path: Path) -> None:
        case = tmp_path / "PH2 Dataset images" / "IMD003"
        case.mkdir(parents=True)
        (tmp_path / "PH2_dataset.txt").write_text("|| IMD003 ||  || 0 ||\n")
        with pytest.raises(UserError, match="IMD003_Dermoscopic_Image: no image of IMD003 in it"):
            read_raw(tmp_path, CLASSES)
        case.rmdir()
        with pytest.raises(UserError, match=f"^{tmp_path}: no images found$"):
            read_raw(tmp_path, CLASSES)

    def test_a_sheet_of_ph2(self, tmp_path: Path) -> None:
        openpyxl = pytest.importorskip("openpyxl")

        def read(*rows: list[str | None]) -> dict[str, str]:
            book = openpyxl.Workbook()
            for row in rows:
                book.active.append(row)
            book.save(tmp_path / "PH2_dataset.xlsx")
            return ph2._read_sheet(tmp_path / "PH2_dataset.xlsx")

        header = ["Image Name", "Common Nevus", "Atypical Nevus", "Melanoma"]
        rows = [["IMD1", None, "x", None], [None, "X", None, None], ["IMD2", None, None, "X"]]
        assert read(["PH2"], header, *rows) == {"IMD1": "1", "IMD2": "2"}
        for count, marks in ((0, [None, None, None]), (2, ["X", None, "X"])):
            with pytest.raises(UserError, match=f"IMD3 has {count} diagnoses marked with an X; expected one"):
                read(header, ["IMD3", *marks])
        with pytest.raises(UserError, match=r"columns 4 \('Melanoma'\) and 5 \('melanoma'\) have the same name"):
            read([*header, "melanoma"], ["IMD3", "X", None, None, "X"])
        with pytest.raises(UserError, match="IMD3 a duplicate with another diagnosis"):
            read(header, ["IMD3", "X", None, None], ["IMD3", None, None, "X"])
        with pytest.raises(UserError, match="no column Melanoma; use the file that comes with PH2"):
            read(header[:-1], ["IMD3", "X", None])

    def test_an_image_that_was_replaced_while_it_was_prepared(
        self, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.png").write_bytes(png(20, 10))
        (tmp_path / "a.csv").write_text("image,mask,label,split\na.png,,nevus,test\n")
        monkeypatch.setattr(prepare, "image_size", lambda file: (10, 20))
        with pytest.raises(UserError, match=r"a\.png: its header and its pixels give different sizes; save it again"):
            prepare.prepare(tmp_path / "a.csv", tmp_path / "data", tiny_config())
        assert not (tmp_path / "data").exists()


class Answer(BytesIO):
    """What a server sends."""

    def __init__(self, content: bytes, status: int, **headers: str) -> None:
        super().__init__(content)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class TestFetch:
    def test_another_part_than_was_asked_for_is_thrown_away(self, tmp_path: Path, monkeypatch) -> None:
        answers = [
            Answer(b"56789", 206, Content_Range="bytes 5-9/10", Content_Length="5"),
            Answer(b"0123456789", 200, Content_Length="10"),
        ]
        asked: list[int] = []

        @contextmanager
        def answer(url: str, *, start: int = 0) -> Iterator[Answer]:
            asked.append(start)
            yield answers[len(asked) - 1]

        monkeypatch.setattr(fetch, "_answer", answer)
        monkeypatch.setattr(fetch, "WAITS", (0,))
        (tmp_path / "a.part").write_bytes(b"012")
        fetch.fetch("https://example.org/a", tmp_path / "a")
        assert asked == [3, 0]
        assert (tmp_path / "a").read_bytes() == b"0123456789"

    @pytest.mark.allow_hosts(["127.0.0.1"])
    def test_a_file_of_another_size_than_announced(self, site: Site, tmp_path: Path) -> None:
        site.files["/a"] = b"short"
        with pytest.raises(UserError, match=r"a: 5 bytes came where 10 were announced; .*/a holds another file"):
            fetch.fetch(f"{site.address}/a", tmp_path / "a", size=10)
        assert not list(tmp_path.iterdir())

    def test_a_server_that_only_answers_get_tells_no_size(self, monkeypatch) -> None:
        @contextmanager
        def refuse(url: str, *, method: str) -> Iterator[Answer]:
            raise fetch.RefusedError(url, int(url[-3:]))
            yield

        monkeypatch.setattr(fetch, "_answer", refuse)
        for status in (403, 405, 501):
            assert fetch.content_length(f"https://example.org/{status}") is None
        with pytest.raises(fetch.RefusedError):
            fetch.content_length("https://example.org/404")
