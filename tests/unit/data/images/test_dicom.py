from __future__ import annotations

import contextlib
import logging
import shlex
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from dicom_files import (
    BORN,
    PATIENT,
    header,
    lesion,
    palette,
    photograph,
    run_lengths,
    saved,
    unmarked_rgb,
    written,
)
from masks import decode_mask
from mbdcnn.config import load_config
from mbdcnn.data.images import dicom
from mbdcnn.data.images.decoding import decode, image_size, pixel_spacing
from mbdcnn.data.prepare import prepare
from mbdcnn.data.readers.folders import find_images
from mbdcnn.errors import UserError

PIXELS = lesion()
GREY = PIXELS[..., 1]
YBR = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))


def as_grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(pixels[..., None], 3, axis=-1)


def assert_gives(content: bytes, pixels: npt.NDArray[np.uint8], tolerance: int = 0) -> None:
    image = decode(content)
    assert image.mode == "RGB"
    assert image_size(content) == image.size == pixels.shape[1::-1]
    np.testing.assert_allclose(np.asarray(image).astype(int), pixels, atol=tolerance)


@pytest.mark.parametrize(
    "kind",
    [
        uid.DermoscopicPhotographyImageStorage,
        uid.VLPhotographicImageStorage,
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    ],
)
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_photographs_of_every_kind(kind: str, syntax: str) -> None:
    assert_gives(photograph(PIXELS, syntax=syntax, kind=kind, NumberOfFrames=1), PIXELS)


@pytest.mark.parametrize(
    ("spacing", "known"),
    [
        ([0.5, 0.25], (0.5, 0.25)),
        (["0.01", "1e-2"], (0.01, 0.01)),
        (None, None),
        ([0.5], None),
        ([0, 0.1], None),
        ([-1, 1], None),
        ([1e-9, 1], None),
        ([1e300, 1], None),
    ],
    ids=str,
)
def test_the_spacing_of_pixels_where_it_is_plausible(spacing, known) -> None:
    content = photograph(PIXELS, **({} if spacing is None else {"PixelSpacing": spacing}))
    assert pixel_spacing(content) == known


def test_other_files_say_no_spacing(tmp_path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "x.png", dpi=(300, 300))
    assert pixel_spacing(tmp_path / "x.png") is None


def test_planes_apart() -> None:
    planes = np.ascontiguousarray(np.moveaxis(PIXELS, -1, 0))
    assert_gives(photograph(PIXELS, PlanarConfiguration=1, PixelData=planes.tobytes()), PIXELS)


def test_uncompressed_ybr() -> None:
    assert_gives(photograph(YBR, "YBR_FULL"), PIXELS, tolerance=3)
    shared = YBR[:, 0::2, 1:].astype(int) // 2 + YBR[:, 1::2, 1:] // 2
    pairs = np.concatenate([YBR[:, 0::2, :1], YBR[:, 1::2, :1], shared.astype(np.uint8)], axis=-1)
    content = photograph(YBR, "YBR_FULL_422", PixelData=pairs.tobytes())
    full = YBR.copy()
    full[..., 1:] = np.repeat(shared, 2, axis=1)
    assert_gives(content, np.asarray(Image.frombytes("YCbCr", (60, 44), full.tobytes()).convert("RGB")))


def test_grey_of_any_depth() -> None:
    assert_gives(photograph(GREY, "MONOCHROME2"), as_grey(GREY))
    assert_gives(photograph(255 - GREY, "MONOCHROME1"), as_grey(GREY))
    assert_gives(photograph(GREY.astype(np.uint16) << 8 | 99, "MONOCHROME2"), as_grey(GREY))
    # 12 of 16 bits, and an old overlay in the upper four.
    twelve = GREY.astype(np.uint16) << 4 | 0xA007
    assert_gives(photograph(twelve, "MONOCHROME2", BitsStored=12, HighBit=11), as_grey(GREY))
    # 8 bits, which the header calls 12.
    assert_gives(photograph(GREY.astype(np.uint16), "MONOCHROME2", BitsStored=12, HighBit=11), as_grey(GREY))
    assert_gives(photograph(PIXELS.astype(np.uint16) << 8), PIXELS)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 5])
def test_palettes(bits: int, first: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (7, 3), np.uint8)
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = colours[(values.astype(int) - first).clip(0, 6)]
    assert_gives(photograph(values, "PALETTE COLOR", **palette(colours, first, bits)), expected)


def test_run_lengths() -> None:
    flat = PIXELS.copy()
    flat[3:9] = 77
    assert_gives(photograph(flat, syntax=uid.RLELossless, frame=run_lengths(flat)), flat)
    assert_gives(photograph(YBR, "YBR_FULL", uid.RLELossless, run_lengths(YBR)), PIXELS, tolerance=3)
    deep = GREY.astype(np.uint16) * 256 + 3
    assert_gives(photograph(deep, "MONOCHROME2", uid.RLELossless, run_lengths(deep)), as_grey(GREY))
    # Written by pydicom, whose encoder is another.
    dataset = pydicom.dcmread(BytesIO(photograph(PIXELS)))
    dataset.compress(uid.RLELossless)
    assert_gives(written(dataset, uid.RLELossless), PIXELS)


@pytest.mark.parametrize("subsampling", [0, 1])
def test_jpeg(subsampling: int) -> None:
    frame = saved(PIXELS, "JPEG", quality=98, subsampling=subsampling)
    content = photograph(PIXELS, "YBR_FULL_422", uid.JPEGBaseline8Bit, frame)
    assert_gives(content, np.asarray(Image.open(BytesIO(frame))))
    grey = saved(GREY, "JPEG", quality=98)
    assert_gives(photograph(GREY, "MONOCHROME2", uid.JPEGBaseline8Bit, grey), as_grey(GREY), tolerance=8)


def test_jpeg_of_rgb_whether_marked_or_not() -> None:
    marked = saved(PIXELS, "JPEG", keep_rgb=True, quality=95)
    expected = np.asarray(Image.open(BytesIO(marked)))
    assert np.abs(expected.astype(int) - PIXELS).mean() < 3
    assert_gives(photograph(PIXELS, "RGB", uid.JPEGBaseline8Bit, marked), expected)
    assert_gives(photograph(PIXELS, "RGB", uid.JPEGBaseline8Bit, unmarked_rgb(PIXELS)), expected)
    # A header that says RGB of what any JPEG reader knows to be YCbCr.
    usual = saved(PIXELS, "JPEG", quality=95)
    assert_gives(photograph(PIXELS, "RGB", uid.JPEGBaseline8Bit, usual), np.asarray(Image.open(BytesIO(usual))))


def test_lossless_jpeg() -> None:
    """Compressed by dcmcjpeg of DCMTK 3.6.7, for Pillow does not write it."""
    frame = b64decode(
        "/9j/wwARCAADAAQDABEAAREAAhEA/8QAFgABAQEAAAAAAAAAAAAAAAAABQcI/9oADAMAAAEAAgABAADP8GhqqqqqqqqqtUqlUVVVVVVVVVqlUqi"
        "qqqqqqqqv/9k="
    )
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7
    assert_gives(photograph(pixels, syntax=uid.JPEGLosslessSV1, frame=frame), pixels)


@pytest.mark.parametrize("colours", ["YBR_RCT", "YBR_ICT", "RGB"])
def test_jpeg_2000(colours: str) -> None:
    frame = saved(PIXELS, "JPEG2000", no_jp2=True, mct=int(colours != "RGB"), irreversible=colours == "YBR_ICT")
    content = photograph(PIXELS, colours, uid.JPEG2000, frame)
    assert_gives(content, PIXELS, tolerance=4 if colours == "YBR_ICT" else 0)


def test_jpeg_2000_in_other_colours() -> None:
    frame = saved(YBR, "JPEG2000", no_jp2=True, mct=0)
    assert_gives(photograph(YBR, "YBR_FULL", uid.JPEG2000Lossless, frame), PIXELS, tolerance=3)
    deep = GREY.astype(np.uint16) * 256
    frame = saved(deep, "JPEG2000", no_jp2=True)
    assert_gives(photograph(deep, "MONOCHROME2", uid.JPEG2000Lossless, frame), as_grey(GREY))


def test_masks_may_be_dicom_too() -> None:
    truth = np.zeros((6, 8), np.uint8)
    truth[2:4, 3:] = 255
    np.testing.assert_array_equal(decode_mask(photograph(truth, "MONOCHROME2")), truth > 0)


WIDE = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (photograph(PIXELS, NumberOfFrames=2), "several frames"),
        (photograph(PIXELS, Rows=20_000, Columns=10_001), "more than 200 million pixels"),
        (photograph(PIXELS, kind=uid.CTImageStorage), "of 'CT Image Storage', which is no photograph"),
        (photograph(PIXELS, kind="1.2.3"), "of an unknown kind"),
        (photograph(PIXELS, "CMYK"), "photometric interpretation"),
        (photograph(GREY, "RGB"), "8 or 16 bits"),
        (photograph(GREY, "MONOCHROME2", PixelRepresentation=1), "without sign"),
        (photograph(GREY, "MONOCHROME2", BitsAllocated=1), "8 or 16 bits"),
        (photograph(PIXELS, Rows=0), "8 or 16 bits"),
        (photograph(PIXELS, Rows=45), "pixels are missing"),
        (photograph(WIDE, "YBR_FULL_422"), "odd width"),
        (photograph(PIXELS, syntax=uid.JPEGLSLossless, frame=b"..."), "JPEG-LS.*save it as"),
        (photograph(PIXELS, syntax=uid.JPEGBaseline8Bit, frame=b"no JPEG"), "JPEG Baseline.* damaged"),
        (photograph(PIXELS, syntax=uid.JPEG2000, frame=saved(PIXELS, "JPEG")), "JPEG 2000.* damaged"),
        (photograph(PIXELS, syntax=uid.JPEGBaseline8Bit, frame=saved(PIXELS[:9], "JPEG")), "different sizes"),
        (photograph(PIXELS, syntax=uid.JPEGBaseline8Bit, frame=saved(GREY, "JPEG")), "different colours"),
        (photograph(PIXELS, syntax=uid.RLELossless, frame=run_lengths(GREY)), "RLE header"),
        (photograph(PIXELS, syntax=uid.RLELossless, frame=run_lengths(PIXELS)[:-1000]), "damaged"),
        (photograph(GREY, "PALETTE COLOR"), "damaged"),
        (photograph(PIXELS, syntax=uid.DeflatedExplicitVRLittleEndian), "deflated"),
        (written(header()), "damaged"),
        (b"\0" * 128 + b"DICM", "damaged"),
    ],
)
def test_what_is_not_read_is_told_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "scan.dcm"
    file.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        decode(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_without_end_is_refused() -> None:
    padded = photograph(PIXELS, EncapsulatedDocument=b"\0" * (dicom.HEADER_LIMIT + 2))
    with pytest.raises(UserError, match="DICOM"):
        decode(padded)


def test_headers_of_many_items_are_refused() -> None:
    content = photograph(PIXELS)
    start = content.index(b"\x08\x00\x16\x00")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * (dicom.ITEM_LIMIT + 1)
    with pytest.raises(UserError, match="more than 10000 items"):
        decode(content[:start] + b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + items + content[start:])


def test_files_larger_than_any_image_are_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "FILE_LIMIT", 2000)
    file = tmp_path / "scan.dcm"
    file.write_bytes(photograph(PIXELS))
    with pytest.raises(UserError, match="larger than"):
        decode(file)


@pytest.mark.parametrize("vr", [b"US", b"PN"])
def test_messages_and_logs_hold_nothing_of_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], vr: bytes
) -> None:
    """A character set and a date that are none, and rows that are a name: pydicom quotes them all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = photograph(PIXELS, SpecificCharacterSet="NACHNAME", StudyDate="NACHNAME")
        content = content.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00" + vr)
        assert "NACHNAME" in caplog.text
        caplog.clear()
    file = tmp_path / "scan.dcm"
    file.write_bytes(content)
    caplog.set_level(logging.DEBUG)
    level, said = logging.getLogger("pydicom").level, ""
    try:
        decode(file)
    except UserError as error:
        said = str(error)
    assert bool(said) == (vr == b"PN")
    said += caplog.text + "".join(capfd.readouterr())
    assert not any(secret in said.lower() for secret in ("nachname", PATIENT.lower(), BORN))
    assert logging.getLogger("pydicom").level == level


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mbdcnn.data.images.dicom", None)
    monkeypatch.delattr("mbdcnn.data.images.dicom")
    file = tmp_path / "scan.dcm"
    file.write_bytes(photograph(PIXELS))
    for read in (decode, image_size):
        with pytest.raises(UserError, match=r"scan\.dcm: a DICOM file; .*pip install .*pydicom"):
            read(file)


def test_pydicom_is_imported_when_a_dicom_file_is_met(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "a.dcm").write_bytes(photograph(PIXELS))
    program = (
        "import sys, mbdcnn.data.prepare\n"
        "from mbdcnn.data.images.decoding import decode\n"
        "decode('a.png'); assert 'pydicom' not in sys.modules\n"
        "decode('a.dcm'); assert 'pydicom' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=tmp_path)


def test_folders_of_dicom_files_are_found(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.DICOM", "a_segmentation.dcm", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in find_images([str(tmp_path)]).images] == ["a.dcm", "b.DICOM"]


def test_a_table_may_list_dicom_files(tmp_path: Path, config_file: Path) -> None:
    lines = ["image,label,split"]
    for number, split in enumerate(("train", "validation")):
        (tmp_path / f"p{number}.dcm").write_bytes(photograph(lesion(seed=number)))
        lines.append(f"p{number}.dcm,melanoma,{split}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    data = prepare(tmp_path / "table.csv", tmp_path / "data", load_config(config_file))
    assert [(row.id, row.width, row.height) for row in data.rows] == [("p0", 60, 44), ("p1", 60, 44)]
    texts = b"".join(file.read_bytes() for file in data.path.rglob("*") if file.suffix in {".csv", ".json"})
    assert PATIENT.encode() not in texts


SOUND = {
    "uncompressed": photograph(PIXELS),
    "implicit": photograph(PIXELS, syntax=uid.ImplicitVRLittleEndian),
    "palette": photograph(GREY, "PALETTE COLOR", **palette(np.eye(256, 3).astype(np.uint8))),
    "jpeg": photograph(PIXELS, "YBR_FULL_422", uid.JPEGBaseline8Bit, saved(PIXELS, "JPEG")),
    "jpeg 2000": photograph(PIXELS, "YBR_RCT", uid.JPEG2000, saved(PIXELS, "JPEG2000", no_jp2=True, mct=1)),
    "run lengths": photograph(PIXELS, syntax=uid.RLELossless, frame=run_lengths(PIXELS)),
}


@pytest.mark.slow
@pytest.mark.parametrize("content", SOUND.values(), ids=SOUND.keys())
def test_any_damage_gives_an_image_or_one_line(content: bytes) -> None:
    rng = np.random.default_rng(len(content))
    started, read = time.monotonic(), 0
    tracemalloc.start()
    for number in range(40):
        damaged = bytearray(content)
        # Half the damage lies in the header, where there is most to go wrong.
        reach = 1200 if number % 2 else len(content)
        for place in rng.integers(128, reach, int(rng.integers(1, 6))):
            damaged[place] ^= 1 << rng.integers(8)
        cut = len(content) if number % 3 else int(rng.integers(132, len(content)))
        for look in (decode, image_size):
            with contextlib.suppress(UserError):
                look(bytes(damaged[:cut]))
                read += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read  # damage to the pixels alone may go unseen
    assert peak < 100e6
    assert time.monotonic() - started < 60


class TestLengths:
    """Uncompressed pixels of another length than the header means."""

    SHARED = np.concatenate([YBR[:, 0::2, :1], YBR[:, 1::2, :1], YBR[:, 0::2, 1:]], axis=-1)

    @pytest.mark.parametrize(
        ("content", "there", "asked"),
        [
            (photograph(PIXELS, "YBR_FULL_422"), 7920, 5280),
            (photograph(YBR, "YBR_FULL_422"), 7920, 5280),
            (photograph(PIXELS, PixelData=SHARED.tobytes()), 5280, 7920),
            (photograph(YBR, "YBR_FULL", PixelData=SHARED.tobytes()), 5280, 7920),
            (photograph(PIXELS, PixelData=PIXELS.tobytes() * 2), 15840, 7920),
            (photograph(GREY, "MONOCHROME2", BitsAllocated=16, BitsStored=16, HighBit=15), 2640, 5280),
            (photograph(GREY.astype(np.uint16), "MONOCHROME2", BitsAllocated=8, BitsStored=8, HighBit=7), 5280, 2640),
            (photograph(GREY, "MONOCHROME2", PixelData=PIXELS.tobytes()), 7920, 2640),
            (photograph(PIXELS, Columns=61), 7920, 8052),
            (photograph(PIXELS, Rows=43), 7920, 7740),
        ],
    )
    def test_both_are_named(self, tmp_path: Path, config_file: Path, content: bytes, there: int, asked: int) -> None:
        (tmp_path / "a.dcm").write_bytes(content)
        (tmp_path / "t.csv").write_text("image,label,split\na.dcm,melanoma,test\n")
        message = rf"a\.dcm: a DICOM file of {there} bytes of pixels where its header \(.*\) asks for {asked}"
        with pytest.raises(UserError, match=message):
            decode(tmp_path / "a.dcm")
        with pytest.raises(UserError, match=message):
            prepare(tmp_path / "t.csv", tmp_path / "data", load_config(config_file))

    @pytest.mark.parametrize("start", [0, 132])
    def test_the_remedy_names_the_colours_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int
    ) -> None:
        file = tmp_path / "a b.dcm"
        file.write_bytes(photograph(PIXELS, "YBR_FULL_422")[start:])
        with pytest.raises(UserError, match="RGB or YBR_FULL rather") as caught:
            decode(file)
        _, _, program, argument = shlex.split(str(caught.value).partition("colours): ")[2])
        monkeypatch.setattr(sys, "argv", ["-c", argument])
        exec(program)
        assert_gives(file.read_bytes(), PIXELS)

    @pytest.mark.parametrize("padding", [0, 1, 20])
    def test_padding_counts_for_nothing(self, padding: int) -> None:
        odd = np.ascontiguousarray(PIXELS[:43, :59])
        assert_gives(photograph(odd, PixelData=odd.tobytes() + b"\0" * (padding + 1)), odd)


def bare(content: bytes) -> bytes:
    """Leave out preamble and meta header."""
    return content[content.index(b"\x08\0\x16\0") :]


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_a_data_set_alone_is_read(tmp_path: Path, syntax: str) -> None:
    content = bare(photograph(PIXELS, syntax=syntax))
    assert_gives(content, PIXELS)
    (tmp_path / "IM1").write_bytes(content)
    with dicom.quiet():
        assert dicom.read_header(tmp_path / "IM1", "x").PatientID == PATIENT


def test_a_compressed_data_set_alone_is_refused() -> None:
    content = bare(photograph(PIXELS, "YBR_FULL_422", uid.JPEGBaseline8Bit, saved(PIXELS, "JPEG")))
    with pytest.raises(UserError, match="without the meta header that says how its pixels are compressed"):
        decode(content)


@pytest.mark.parametrize("alone", [False, True])
def test_big_endian_is_refused_by_name(alone: bool) -> None:
    dataset = pydicom.dcmread(BytesIO(photograph(PIXELS)))
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    content = stream.getvalue()
    with pytest.raises(UserError, match=r"in big endian \(Explicit VR Big Endian.*dcmconv"):
        decode(content[content.index(b"\0\x08\0\x16") :] if alone else content)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_fewer_bits_than_the_header_says_are_known_by_the_values(bits: int) -> None:
    deep = GREY.astype(np.uint16) << (bits - 8)
    assert deep.max() >= 1 << (bits - 2)
    expected = as_grey(GREY)
    assert_gives(photograph(deep, "MONOCHROME2"), expected)
    assert_gives(photograph(deep, "MONOCHROME2", BitsStored=bits, HighBit=bits - 1), expected)


def test_bits_stored_at_the_upper_end() -> None:
    deep = GREY.astype(np.uint16) << 8 | 7
    assert_gives(photograph(deep, "MONOCHROME2", BitsStored=12, HighBit=15), as_grey(GREY))
    colours = PIXELS.astype(np.uint16) << 4
    assert_gives(photograph(colours, BitsStored=12, HighBit=11), PIXELS)


def test_what_older_writers_leave_out() -> None:
    dataset = pydicom.dcmread(BytesIO(photograph(PIXELS)))
    del dataset.PixelRepresentation, dataset.PlanarConfiguration, dataset.HighBit
    stream = BytesIO()
    dataset.save_as(stream)
    assert_gives(stream.getvalue(), PIXELS)
    del dataset.SOPClassUID
    stream = BytesIO()
    dataset.save_as(stream)
    assert_gives(stream.getvalue(), PIXELS)


def test_run_lengths_that_would_fill_the_memory_do_not() -> None:
    bomb = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 2_000_000
    tracemalloc.start()
    with contextlib.suppress(UserError):
        decode(photograph(GREY, "MONOCHROME2", uid.RLELossless, bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
