"""What the server takes, and how it says no."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from mbdcnn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the server takes at most. Beyond each of these a request is refused with one clear line."""

    upload_megabytes: float = 20
    """Size of one upload, in megabytes."""
    megapixels: float = 40
    """Pixels of one image, in millions."""
    queue: int = 32
    """Requests worked on or waiting at once; more are told to come back later."""
    connections: int = 256
    """Open connections; more are told to come back later."""
    timeout: float = 60
    """Seconds from the end of an upload to its answer."""
    upload_timeout: float = 30
    """Seconds an upload may take."""
    batch: int = 8
    """Images that are run through the networks together."""
    batch_wait: float = 0.004
    """Seconds to wait for more of them."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise UserError(f"serve: {limit.name.replace('_', '-')} must be more than 0")

    @property
    def upload_bytes(self) -> int:
        """Size of one upload, in bytes."""
        return round(self.upload_megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return round(self.megapixels * 1e6)


class RefusedError(Exception):
    """A request is not done: an HTTP status and one line saying why and what to do."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Gate:
    """Lets so many requests in at once, and no more: what bounds the server's memory."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for the length of the block; only from the event loop's thread.

        Raises:
            RefusedError: all are taken.
        """
        if self.taken >= self.places:
            raise busy()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


def busy() -> RefusedError:
    """Tell a client to come back."""
    return RefusedError(503, "the server is busy; try again in a second", retry_after=1)
