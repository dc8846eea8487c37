"""One file over HTTP, whole or not at all: continued after a cut, tried again after a fault, checked at the end."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mbdcnn._version import __version__
from mbdcnn.errors import UserError
from mbdcnn.system.files import disk_errors_as_user_errors
from mbdcnn.system.progress import Progress, silent

CHUNK = 1 << 20
TIMEOUT = 60
WAITS = (1, 2, 4, 8, 16)
"""Seconds before each new try; tries that brought something start over."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which another try may work."""
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)

T = TypeVar("T")


class RefusedError(UserError):
    """The server does not give the file, and will not the next time."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _FaultError(Exception):
    """Something that may work at another try."""


def fetch(
    url: str, file: Path, *, md5: str | None = None, size: int | None = None, progress: Progress = silent
) -> None:
    """Bring a file here; what an earlier try left in `NAME.part` is continued.

    Args:
        url: where it is.
        file: where it goes, once it is whole; what lies there is replaced.
        md5: its checksum, if known.
        size: its bytes, if known.
        progress: told the bytes that are here.

    Raises:
        RefusedError: the server does not give it.
        UserError: the connection fails again and again, the disk is full, or twice it was another file.
    """
    part = file.with_name(f"{file.name}.part")
    mistake = None
    for _ in range(2):
        persistently(lambda: _continue(url, part, size, progress), url, lambda: length(part))
        mistake = _mistake(part, md5, size)
        if mistake is None:
            part.replace(file)
            return
        part.unlink()
    raise UserError(f"{file}: {mistake}; {plain(url)} holds another file")


def persistently(attempt: Callable[[], T], url: str, brought: Callable[[], int] = lambda: 0) -> T:
    """Try until it works, giving up after several tries in a row after which `brought` did not grow."""
    failures = 0
    while True:
        before = brought()
        try:
            return attempt()
        except _FaultError as fault:
            failures = 0 if brought() > before else failures + 1
            if failures > len(WAITS):
                raise UserError(
                    f"{plain(url)}: {fault}, {failures} times; run the same command again to resume"
                ) from None
            time.sleep(WAITS[max(failures - 1, 0)])


def content_length(url: str) -> int | None:
    """Ask for a file's size; None where the server does not tell.

    Raises:
        RefusedError: there is no such file.
    """

    def ask() -> str | None:
        with _answer(url, method="HEAD") as response:
            return response.headers.get("Content-Length")

    try:
        answer = persistently(ask, url)
    except RefusedError as error:
        # Some servers only answer GET.
        if error.status in {403, 405, 501}:
            return None
        raise
    return None if answer is None else int(answer)


def read_json(url: str) -> Any:
    """Ask an API.

    Raises:
        UserError: it does not answer, or not with JSON.
    """

    def ask() -> bytes:
        with _answer(url) as response:
            content: bytes = response.read()
            return content

    try:
        return json.loads(persistently(ask, url))
    except ValueError:
        raise UserError(f"{plain(url)}: the answer is not JSON") from None


def check_space(folder: Path, needed: int) -> None:
    """Raise a UserError unless so many bytes are free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free; make room")


def md5_of(file: Path) -> str:
    """MD5 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def length(file: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    return file.stat().st_size if file.is_file() else 0


def plain(url: str) -> str:
    """Leave out what follows the `?`: signatures, which fill lines and are nobody's business."""
    return url.partition("?")[0]


def _continue(url: str, part: Path, size: int | None, progress: Progress) -> None:
    have = length(part)
    if size is not None and have == size:
        return
    try:
        with _answer(url, start=have) as response:
            _receive(response, part, have, progress)
    except RefusedError as error:
        if error.status != 416:
            raise
        # The part is longer than the file.
        part.unlink(missing_ok=True)
        raise _FaultError("what came before does not belong to the file") from None


def _receive(response: http.client.HTTPResponse, part: Path, have: int, progress: Progress) -> None:
    if response.status != 206:
        have = 0  # a server without ranges sends everything
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        part.unlink()
        raise _FaultError("the server sent another part than asked for")
    told = response.headers.get("Content-Length")
    total = None if told is None else have + int(told)
    with disk_errors_as_user_errors(part, kept=True):
        check_space(part.parent, (total or 0) - have)
        with part.open("ab" if have else "wb") as stream:
            while chunk := response.read(CHUNK):
                stream.write(chunk)
                have += len(chunk)
                progress(have, total or have)
    if total is not None and have < total:
        raise _FaultError(f"the connection was cut at {have} of {total} bytes")


@contextmanager
def _answer(url: str, *, start: int = 0, method: str = "GET") -> Iterator[http.client.HTTPResponse]:
    if not url.startswith(("https://", "http://")):
        raise UserError(f"{url}: not a web address; it must begin with https://")
    headers = {"User-Agent": f"mbdcnn/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        request = urllib.request.Request(url, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        message = f"HTTP {error.code} {error.reason}"
        if error.code in PASSING:
            raise _FaultError(message) from None
        raise RefusedError(f"{plain(url)}: {message}", error.code) from None
    except NETWORK_ERRORS as error:
        raise _FaultError(str(getattr(error, "reason", error)) or type(error).__name__) from None


def _mistake(part: Path, md5: str | None, size: int | None) -> str | None:
    """Say what is wrong with a file that has come, if anything."""
    if size is not None and length(part) != size:
        return f"{length(part)} bytes came where {size} were announced"
    if md5 is not None and (found := md5_of(part)) != md5:
        return f"its MD5 is {found} and should be {md5}"
    return None
