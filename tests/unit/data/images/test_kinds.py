from __future__ import annotations

import shlex
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, features
from pydicom import uid

from bad_images import whole_images
from dicom_files import lesion, photograph
from mbdcnn.data.images.decoding import decode, image_size
from mbdcnn.data.images.kinds import another_kind, is_dicom
from mbdcnn.errors import UserError

HEIC = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(99)


def bare(content: bytes) -> bytes:
    """Leave out preamble and meta header."""
    return content[content.index(b"\x08\0\x16\0") :]


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_dicom_is_known_with_and_without_its_preamble(syntax: str) -> None:
    content = photograph(lesion(), syntax=syntax)
    assert is_dicom(content)
    assert is_dicom(bare(content))


@pytest.mark.parametrize("kind", [kind for kind in whole_images() if not kind.startswith("dcm")])
def test_nothing_else_is_taken_for_dicom_or_heic(kind: str) -> None:
    assert not is_dicom(whole_images()[kind])
    assert another_kind(whole_images()[kind], "x") is None


def test_heic_is_refused_with_a_way_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "IMG 1.heic"
    file.write_bytes(HEIC)
    for read in (decode, image_size):
        with pytest.raises(
            UserError, match=r"IMG 1\.heic: a HEIC image, which is not read; .*pip install pillow-heif; .*"
        ):
            read(file)
    with pytest.raises(UserError, match=r"^the image: a HEIC image.* FILE$"):
        decode(HEIC)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_what_converts_avif_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.avif"
    stream = BytesIO()
    Image.fromarray(lesion()).save(stream, "AVIF")
    file.write_bytes(stream.getvalue())
    with pytest.raises(UserError, match="an AVIF image") as caught:
        decode(file)
    _, option, program, argument = shlex.split(str(caught.value).partition("convert it: ")[2])
    assert (option, argument) == ("-c", str(file))
    monkeypatch.setattr("sys.argv", ["-c", argument])
    exec(program)
    assert decode(tmp_path / "a.avif.png").size == (60, 44)
