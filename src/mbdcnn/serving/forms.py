"""Forms with a file, read in memory: the usual parsers put larger files into temporary ones on disk."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS = 8

# Its warnings quote what was sent.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class FormError(Exception):
    """A form that cannot be read."""


@dataclass
class Part:
    """One field of a form."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        """Its name, '' where it has none."""
        _, options = parse_options_header(self.headers.get(b"content-disposition", b""))
        return options.get(b"name", b"").decode("utf-8", "replace")


def parse_form(body: bytes, content_type: str) -> dict[str, bytes]:
    """Give the content of each field of a multipart form.

    Raises:
        FormError: it is damaged, cut off, has too many fields, or two of one name.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise FormError("its type names no boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise FormError("it is damaged") from None
    if not reader.whole:
        raise FormError("it is cut off")
    fields = {part.name: bytes(part.content) for part in reader.parts}
    if len(fields) < len(reader.parts):
        raise FormError("two of its fields have one name")
    return fields


class _Reader:
    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.whole = False
        self._name = b""
        self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise FormError(f"it has more than {MOST_PARTS} fields")
        self.parts.append(Part())

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end(self) -> None:
        self.whole = True
