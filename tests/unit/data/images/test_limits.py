"""A guard against laborious JPEGs that whole photographs pass, whatever lies behind or beside their pixels."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bad_images import jpeg_of_scans, saved
from dicom_files import lesion
from mbdcnn.data.images import limits
from mbdcnn.data.images.decoding import decode, decode_at_least
from mbdcnn.errors import UserError

PIXELS = lesion(200, 150)
VIDEO = b"\0\0\0\x18ftypmp42" + b"\xff\xda\xff\xd8\xff\xc0\0\0" * 50_000
MARKERS = b"\xff\xda\0\0" * 15_000
"""As many markers of scans as a segment holds."""


def scans(content: bytes) -> int:
    return limits._scans(Image.open(BytesIO(content), formats=["JPEG"]))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_scans_are_counted_in_the_image_alone(mode: str, options: dict[str, int]) -> None:
    content = saved(Image.fromarray(PIXELS).convert(mode), "JPEG", quality=95, **options)
    own = scans(content)
    assert (own > 1) == ("progressive" in options)
    assert scans(content + VIDEO) == own
    np.testing.assert_array_equal(np.asarray(decode(content + VIDEO)), np.asarray(decode(content)))
    assert decode_at_least(content + VIDEO, 70).shrunk == 2


SEGMENTS = {
    "comment": MARKERS,
    "exif": b"Exif\0\0" + MARKERS,
    "icc_profile": MARKERS * 3,
    "extra": b"\xff\xe5\xea\x62" + MARKERS,
}


@pytest.mark.parametrize("where", SEGMENTS)
def test_markers_in_other_segments_count_for_nothing(where: str) -> None:
    content = saved(Image.fromarray(PIXELS), "JPEG", **{where: SEGMENTS[where]})
    assert content.count(b"\xff\xda") > limits.SCAN_LIMIT
    assert scans(content) == 1
    np.testing.assert_array_equal(
        np.asarray(decode(content)), np.asarray(decode(saved(Image.fromarray(PIXELS), "JPEG")))
    )


def test_a_second_image_behind_the_first_counts_for_nothing() -> None:
    content = saved(Image.fromarray(PIXELS), "JPEG")
    assert scans(content + jpeg_of_scans(32, 200)) == 1
    assert decode(content + jpeg_of_scans(32, 200)).size == (200, 150)


@pytest.mark.parametrize("lead", [b"", b"\xff" * 7, b"rubbish between segments", b"\xff\x01", b"\xff\xd3"])
def test_scans_are_counted_whatever_stands_between_them(lead: bytes) -> None:
    whole = jpeg_of_scans(64, 0)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    content = whole[:-2] + (lead + last) * 200 + whole[-2:]
    assert scans(content) > 200
    with pytest.raises(UserError, match="more than 100 scans"):
        decode(content)
    with pytest.raises(UserError, match="more than 100 scans"):
        decode(content + VIDEO)


def test_an_image_that_breaks_off_is_counted_to_its_end() -> None:
    content = jpeg_of_scans(64, 300)
    assert scans(content[:-50]) > 200
