"""Tables as text: anybody's CSV read by one set of rules, and our own written and read to the letter."""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from mbdcnn.errors import UserError

DELIMITERS = (",", ";", "\t", "|")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Signs without a form of their own that Unicode does not file under format: joiners, fillers, variations, a blank."""
_QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f«»"
_SECOND = re.compile(r"_?(\.+|_duplicated_)\d+$")
"""What pandas, R and Polars put behind the second of two columns of one name."""
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SEP_LINE = re.compile(r"\"?sep=([,;|\t])\"?[,;|\t ]*(?:\r\n|\r|\n)", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """A row that is not blank: its cells without the space round them, and its place for messages."""

    where: str
    cells: list[str]

    @property
    def plain(self) -> set[str]:
        """The cells as `plain` gives names, for a row that may be a header."""
        return {plain(cell) for cell in self.cells}


@dataclass(frozen=True)
class Row:
    """A row below a header: its cells by the columns' plain names."""

    where: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table with a header, in which no two columns have one name."""

    file: Path
    columns: Mapping[str, str]
    """Plain name and name as written."""
    rows: list[Row]
    nameless: list[str]
    """Columns without a name that hold something."""

    def need(self, names: Iterable[str], expected: str) -> None:
        """Raise a UserError unless all columns are there."""
        missing = [name for name in names if plain(name) not in self.columns]
        if missing:
            raise self.lacks(missing[0], expected)

    def lacks(self, column: str, expected: str) -> UserError:
        """Say that a column is missing, which there are and what is expected."""
        there = [name if len(name) <= 30 else f"{name[:30]}…" for name in self.columns.values()]
        found = ", ".join(there[:8]) + (", …" if len(there) > 8 else "")
        return UserError(f"{self.file}: no column {column}; expected {expected}; its header is: {found or 'empty'}")

    def unused(self, used: Collection[str]) -> list[str]:
        """Name the columns that hold something and are not among those used."""
        return [name for name in self.columns if name not in used] + self.nameless


def plain(name: str) -> str:
    """Give a name as names are compared: case, kinds of space, hyphen and Unicode forms are all one.

    Quotes round it and signs that are not seen count for nothing.
    """
    seen = "".join(_seen(sign) for sign in unicodedata.normalize("NFKC", name))
    return re.sub(r"[\s_-]+", "_", seen.strip().strip(_QUOTES).strip()).casefold()


def _seen(sign: str) -> str:
    """Give what is seen of a sign: nothing of invisible ones, one hyphen for all dashes."""
    kind = unicodedata.category(sign)
    if kind == "Pd" or sign == "\N{MINUS SIGN}":
        return "-"
    return "" if kind == "Cf" or (kind == "Cc" and not sign.isspace()) or _UNSEEN.match(sign) else sign


def folded(name: str) -> str:
    """Give a name without case and in one Unicode form: macOS writes an umlaut as two signs, most others as one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def number(cell: str) -> float | None:
    """Read a number, with a decimal point or comma; None if it is none."""
    try:
        # Python would take 0_1 for 1.
        return float(cell.replace("_", "x") if "." in cell else cell.replace("_", "x").replace(",", "."))
    except ValueError:
        return None


def encoding_of(start: bytes) -> str:
    """Tell a text file's encoding from its first four bytes: by its mark, or the zeros of UTF-16."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    if start[:2].count(0) == 1:
        return "utf-16-be" if start[0] == 0 else "utf-16-le"
    return "utf-8"


def read_text(file: Path, errors: str = "strict") -> str:
    """Read a text file in UTF-8 or UTF-16.

    Raises:
        UserError: it cannot be read, or is a workbook or another encoding.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    if content.startswith(_WORKBOOKS):
        raise UserError(f"{file}: an Excel workbook; save it as 'CSV UTF-8' and name that file")
    try:
        return content.decode(encoding_of(content[:4]), errors)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{file} line {line}: not UTF-8; save it as 'CSV UTF-8'") from None


def read_lines(file: Path, known: Iterable[str] = (), errors: str = "strict") -> list[Line]:
    """Read the rows of a table, a header among them if there is one.

    Args:
        file: text separated by commas, semicolons, tabs or bars, which is told by what makes most names of the header.
        known: names that may stand in the header.
        errors: what becomes of bytes that are not UTF-8, as for `open`.

    Raises:
        UserError: it cannot be read, or is no CSV.
    """
    text = read_text(file, errors)
    given = _SEP_LINE.match(text)
    above = 1 if given else 0
    text = text[given.end() :] if given else text
    delimiter = _delimiter(text, {plain(name) for name in known}, given[1] if given else "")
    reader = _reader(text, delimiter)
    lines: list[Line] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                lines.append(Line(f"{file} row {reader.line_num + above}", cells))
    except csv.Error as error:
        place = f"{file} row {reader.line_num + above}"
        raise UserError(f"{place}: not CSV: {error}; is a quote left open?") from None
    return lines


def read_table(file: Path, known: Iterable[str], errors: str = "strict") -> Table:
    """Read a table with a header; empty columns at its right end, as Excel writes them, count for nothing.

    Args:
        file: the table.
        known: names of the columns that are looked for.
        errors: what becomes of bytes that are not UTF-8, as for `open`.

    Raises:
        UserError: as for `read_lines`; or two columns have one name, or a row has more cells than there are columns.
    """
    return as_table(file, read_lines(file, known, errors))


def as_table(file: Path, lines: Sequence[Line]) -> Table:
    """Take the first of the lines for the header.

    Raises:
        UserError: two columns have one name, or a row has more cells than there are columns.
    """
    header = lines[0].cells if lines else []
    columns = unique_columns(file, header)
    names = [plain(name) for name in header]
    rows, nameless = [], set[int]()
    for line in lines[1:]:
        cells = line.cells + [""] * (len(header) - len(line.cells))
        if any(cells[len(header) :]):
            raise UserError(
                f"{line.where}: {len(line.cells)} cells under {len(header)} columns; quote cells that hold a comma"
            )
        nameless |= {place for place, name in enumerate(names) if not name and cells[place]}
        rows.append(Row(line.where, {name: cell for name, cell in zip(names, cells, strict=False) if name}))
    return Table(file, columns, rows, [f"column {place + 1}, which has no name" for place in sorted(nameless)])


def unique_columns(file: Path, header: Sequence[str]) -> dict[str, str]:
    """Give the columns that have a name, by their plain names.

    Raises:
        UserError: two have the same.
    """
    places: dict[str, int] = {}
    names = {plain(name) for name in header}
    for place, name in enumerate(header):
        key = plain(name)
        key = stem if (stem := _SECOND.sub("", key)) in names else key
        if not key:
            continue
        first = places.setdefault(key, place)
        if first != place:
            raise UserError(
                f"{file}: columns {first + 1} ({header[first]!r}) and {place + 1} ({name!r}) have the same name; "
                "remove or rename one"
            )
    return {name: header[place] for name, place in places.items()}


def identified(table: Table, names: Sequence[str], find: Callable[[str], str | None]) -> tuple[str, list[str | None]]:
    """Find the column that tells which image a row is about, and the image of each row.

    It is the one that names most images that are known; a mere row number comes last.

    Args:
        table: the table.
        names: plain names that such a column may have, the likeliest first; one of them must be there.
        find: gives the image that a cell names, or None.

    Raises:
        UserError: two columns name different images in one row.
    """
    written = table.columns
    there = sorted((name for name in names if name in table.columns), key=lambda name: is_row_number(table, name))
    found = {name: [find(row.cells[name]) for row in table.rows] for name in there}
    best = max(there, key=lambda name: sum(image is not None for image in found[name]))
    for other in there:
        for row, one, two in zip(table.rows, found[best], found[other], strict=True):
            if one is not None and two is not None and one != two:
                raise UserError(
                    f"{row.where}: column {written[best]} names {one}, column {written[other]} names {two}; "
                    "remove the column that does not name the image"
                )
    return best, found[best]


def is_row_number(table: Table, name: str) -> bool:
    """Say whether a column only counts the rows, from 0 or 1 on."""
    cells = [row.cells[name] for row in table.rows]
    return len(cells) > 1 and any(cells == [str(start + place) for place in range(len(cells))] for start in (0, 1))


def write_table(file: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table of ours; None becomes an empty cell."""
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def read_written(file: Path) -> list[dict[str, str]]:
    """Read a table that `write_table` wrote, to the letter.

    Raises:
        ValueError: it is damaged.
    """
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        try:
            return list(csv.DictReader(stream))
        except csv.Error as error:
            raise ValueError(str(error)) from None


def _reader(text: str, delimiter: str) -> Any:
    return csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)


def _delimiter(text: str, known: Collection[str], given: str) -> str:
    """Give what separates the header into most known names; else what a `sep=` line gives; else into most cells."""

    def judged(delimiter: str) -> tuple[int, bool, int]:
        try:
            header: list[str] = next((row for row in _reader(text, delimiter) if any(map(str.strip, row))), [])
        except csv.Error:
            return -1, False, 0
        return len({plain(name) for name in header} & set(known)), delimiter == given, len(header)

    return max(DELIMITERS, key=judged)
