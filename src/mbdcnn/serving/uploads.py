"""Pictures as clients send them, read into memory only: nothing of them is written to disk or logged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from io import BytesIO
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from starlette.requests import Request

from mbdcnn.data.images.decode import FORMATS, TooManyPixelsError, picture_size
from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.protocol import Inputs
from mbdcnn.serving.forms import FormError, parse_form
from mbdcnn.serving.limits import Limits, RefusedError

FIELD = "image"
"""Name of the picture in a form."""
BARE = ("application/octet-stream", "application/dicom")
"""Types, beside image/..., of a picture that is the whole body."""


class Upload(NamedTuple):
    """What a request brought."""

    picture: bytes
    fields: dict[str, str]
    """The form's other fields."""


async def read_upload(request: Request, limits: Limits) -> Upload:
    """Read a picture: a form with a file named `image`, or the bare file as the body.

    Raises:
        RefusedError: it is too large, too slow, of another type, or not there.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    form = kind == "multipart/form-data"
    if not form and not kind.startswith("image/") and kind not in BARE:
        raise RefusedError(415, f"send the picture as a form's file '{FIELD}', or as the body with its type, image/...")
    try:
        async with asyncio.timeout(limits.upload_timeout):
            body = b"".join([chunk async for chunk in _limited(request, limits)])
    except TimeoutError:
        raise RefusedError(408, f"the upload took more than {limits.upload_timeout:g} seconds") from None
    upload = _from_form(body, request.headers["content-type"]) if form else Upload(body, {})
    if not upload.picture:
        raise RefusedError(400, f"no picture: send it as a form's file '{FIELD}', or as the body")
    return upload


def open_picture(content: bytes, limits: Limits, predictor: Predictor, protocol: ProtocolName) -> Inputs:
    """Read a picture for a protocol.

    Raises:
        RefusedError: it is no picture, a damaged one, or too large.
    """
    try:
        width, height = _size(content)
        if width * height > limits.pixels:
            raise _too_many_pixels(limits)
        return predictor.read(content, protocol)
    except UnidentifiedImageError:
        raise RefusedError(415, "not a picture that can be read (JPEG, PNG, BMP, TIFF, WebP, GIF or DICOM)") from None
    except (TooManyPixelsError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(limits) from None
    except UserError as error:
        raise RefusedError(422, str(error)) from None
    except RefusedError:
        raise
    # Damaged files make the decoders fail in many ways.
    except Exception:
        raise RefusedError(422, "the picture cannot be decoded; the file is damaged") from None


def _size(content: bytes) -> tuple[int, int]:
    """Read width and height from the header, of the formats that are taken alone."""
    if content[128:132] == b"DICM":
        return picture_size(content)
    with Image.open(BytesIO(content), formats=FORMATS) as picture:
        return picture.size


async def _limited(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Pass the body on as it arrives, as long as it is not too large."""
    too_large = RefusedError(413, f"the upload is larger than {limits.upload_megabytes:g} MB; send a smaller picture")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.upload_bytes:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limits.upload_bytes:
            raise too_large
        yield chunk


def _from_form(body: bytes, content_type: str) -> Upload:
    try:
        fields = parse_form(body, content_type)
    except FormError as error:
        raise RefusedError(400, f"the form cannot be read: {error}") from None
    picture = fields.pop(FIELD, b"")
    return Upload(picture, {name: value[:100].decode("utf-8", "replace") for name, value in fields.items()})


def _too_many_pixels(limits: Limits) -> RefusedError:
    return RefusedError(413, f"the picture has more than {limits.megapixels:g} million pixels; send a smaller one")
