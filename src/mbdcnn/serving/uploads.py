"""Images as clients send them, read into memory only: nothing of them is written to disk or logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from io import BytesIO
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mbdcnn.data.images.decoding import FORMATS, TooManyPixelsError, image_size
from mbdcnn.data.images.kinds import another_kind, is_dicom
from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.prompts import Prompts
from mbdcnn.inference.protocol import Inputs
from mbdcnn.serving.limits import Limits, RefusedError

FIELD, MASK = "image", "mask"
"""Names of the image and of a person's outline in a form."""
LONGEST = 10_000
"""Signs of another field; thirty clicks take less than a tenth."""
BARE = ("application/octet-stream", "application/dicom")
"""Types, beside image/..., of an image that is the whole body."""
MOST_FIELDS = 8
"""Fields of a form."""

# Its warnings quote what was sent.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Upload(NamedTuple):
    """What a request brought."""

    image: bytes
    mask: bytes | None
    """A person's outline, where one was sent."""
    fields: dict[str, str]
    """The form's other fields."""


async def read_upload(request: Request, limits: Limits) -> Upload:
    """Read an image: a form with a file named `image`, or the bare file as the body.

    Raises:
        RefusedError: it is too large, too slow, of another type, or not there.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    form = kind == "multipart/form-data"
    if not form and not kind.startswith("image/") and kind not in BARE:
        raise RefusedError(415, f"send the image as a form's file '{FIELD}', or as the body with its type, image/...")
    try:
        async with asyncio.timeout(limits.upload_timeout):
            body = b"".join([chunk async for chunk in _limited(request, limits)])
    except TimeoutError:
        raise RefusedError(408, f"the upload took more than {limits.upload_timeout:g} seconds") from None
    upload = await _from_form(body, request.headers) if form else Upload(body, None, {})
    if not upload.image:
        raise RefusedError(400, f"no image: send it as a form's file '{FIELD}', or as the body")
    return upload


def open_image(
    content: bytes,
    limits: Limits,
    predictor: Predictor,
    protocol: ProtocolName,
    prompts: Prompts | None = None,
    shown: int = 0,
) -> Inputs:
    """Read an image for a protocol, with what a person says of its coarse mask.

    Args:
        content: the file.
        limits: what is taken.
        predictor: what will run on it.
        protocol: how it will.
        prompts: what a person says.
        shown: longer side, in pixels, of a copy that is kept to be sent back; none if 0.

    Raises:
        RefusedError: it is no image, a damaged one, or too large; or what is said does not fit it.
    """
    if prompts is not None and isinstance(prompts.mask, bytes):
        _check_mask(prompts.mask, limits)
    try:
        width, height = _size(content)
        if width * height > limits.pixels:
            raise _too_many_pixels(limits)
        return predictor.read(content, protocol, shown=shown, prompts=prompts)
    except UnidentifiedImageError:
        if (reason := another_kind(content, "FILE")) is not None:
            raise RefusedError(415, reason) from None
        raise RefusedError(415, "not an image that can be read (JPEG, PNG, BMP, TIFF, WebP, GIF or DICOM)") from None
    except (TooManyPixelsError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(limits) from None
    except UserError as error:
        raise RefusedError(422, str(error)) from None
    except RefusedError:
        raise
    # Damaged files make the decoders fail in many ways.
    except Exception:
        raise RefusedError(422, "the image cannot be decoded; the file is damaged") from None


def _check_mask(content: bytes, limits: Limits) -> None:
    """Look at the header of a mask, before any pixel is decoded."""
    try:
        with Image.open(BytesIO(content), formats=("PNG",)) as mask:
            width, height = mask.size
    # Damaged headers make Pillow fail in many ways.
    except Exception:
        raise RefusedError(415, f"{MASK}: not a PNG that can be read; send a PNG, white on the lesion") from None
    if width * height > limits.pixels:
        raise RefusedError(413, f"{MASK}: has more than {limits.megapixels:g} million pixels; send the image's size")


def _size(content: bytes) -> tuple[int, int]:
    """Read width and height from the header, of the formats that are taken alone."""
    if is_dicom(content):
        return image_size(content)
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        return image.size


async def _limited(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Pass the body on as it arrives, as long as it is not too large."""
    too_large = RefusedError(413, f"the upload is larger than {limits.upload_megabytes:g} MB; send a smaller image")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.upload_bytes:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limits.upload_bytes:
            raise too_large
        yield chunk


class _Form(MultiPartParser):
    """A form's parser that keeps files of any size in memory, and knows whether the form has its end."""

    spool_max_size = 1 << 40
    ended = False

    def on_end(self) -> None:
        """Note the last boundary."""
        self.ended = True


async def _from_form(body: bytes, headers: Headers) -> Upload:
    too_many = f"it has more than {MOST_FIELDS} fields"
    reasons = {"Missing boundary": "its type names no boundary", "Too many": too_many}

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body
        # Refused while the parser is at work, so that it closes its files.
        names = [name for name, _ in parser.items]
        if not parser.ended:
            raise _bad_form("it is cut off")
        if len(names) > MOST_FIELDS:
            raise _bad_form(too_many)
        if len(set(names)) < len(names):
            raise _bad_form("two of its fields have one name")

    parser = _Form(headers, whole(), max_files=MOST_FIELDS, max_fields=MOST_FIELDS, max_part_size=len(body))
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:
        raise _bad_form(next((ours for its, ours in reasons.items() if its in str(error)), "it is damaged")) from None
    try:
        image, mask = form.get(FIELD), form.get(MASK)
        if isinstance(mask, str):
            raise _bad_form(f"its field '{MASK}' is no file; send a PNG")
        others = {name: value for name, value in form.items() if name not in {FIELD, MASK}}
        options = {name: value if isinstance(value, str) else "a file" for name, value in others.items()}
        if any(len(value) > LONGEST for value in options.values()):
            raise _bad_form(f"a field holds more than {LONGEST} signs")
        return Upload(
            await image.read() if isinstance(image, UploadFile) else b"",
            await mask.read() if isinstance(mask, UploadFile) else None,
            options,
        )
    finally:
        await form.close()


def _bad_form(reason: str) -> RefusedError:
    return RefusedError(400, f"the form cannot be read: {reason}")


def _too_many_pixels(limits: Limits) -> RefusedError:
    return RefusedError(413, f"the image has more than {limits.megapixels:g} million pixels; send a smaller one")
