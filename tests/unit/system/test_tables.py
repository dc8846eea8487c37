"""What an untrusted table holds, however it was saved."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from mbdcnn.data.readers.ids import ID_COLUMNS, Ids
from mbdcnn.errors import UserError
from mbdcnn.system.tables import identified, number, plain, read_lines, read_table, read_written, write_table

ROWS = [["a.jpg", "0.25", "Müller, J."], ["b.jpg", "0.75", ""]]
KNOWN = ("image", "melanoma", "note")


def saved(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "table.csv"
    file.write_bytes(text.encode(encoding))
    return file


def cells(file: Path) -> list[list[str]]:
    table = read_table(file, KNOWN)
    assert list(table.columns) == list(KNOWN)
    return [list(row.cells.values()) for row in table.rows]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_however_it_was_saved(tmp_path: Path, end: str, encoding: str, delimiter: str) -> None:
    lines = [["Image", "\u00a0Melanoma ", "note"], ["", "", ""], *ROWS, [" ", "\u00a0", ""]]
    text = end.join(delimiter.join(f'"{cell}"' if "," in cell else cell for cell in line) for line in lines)
    assert cells(saved(tmp_path, text, encoding)) == ROWS
    assert cells(saved(tmp_path, f"sep={delimiter}{end}{text}{end}", encoding)) == ROWS


def test_excels_empty_columns_count_for_nothing(tmp_path: Path) -> None:
    text = "image;melanoma;note;;\na.jpg;0.25;Müller, J.;;\nb.jpg;0.75;;;\n;;;;\n"
    assert cells(saved(tmp_path, text)) == ROWS
    assert cells(saved(tmp_path, "image;melanoma;note\na.jpg;0.25;Müller, J.;;\nb.jpg;0.75\n")) == ROWS


def test_what_stands_under_no_name_is_said(tmp_path: Path) -> None:
    table = read_table(saved(tmp_path, ",image,age,,\n0,a.jpg,40,,seen\n"), KNOWN)
    assert table.unused(KNOWN) == ["age", "column 1, which has no name", "column 5, which has no name"]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("image,melanoma,note;a;b;c;d;e", ","),
        ("image;melanoma;a, b, c, d", ";"),
        ('"image"\t"melanoma"\t"a,b,c,d;e;f"', "\t"),
        ("first,second;third,fourth", ","),
    ],
)
def test_the_names_in_the_header_tell_the_delimiter(tmp_path: Path, header: str, delimiter: str) -> None:
    (line,) = read_lines(saved(tmp_path, header), KNOWN)
    assert line.cells == [cell.strip('"') for cell in header.split(delimiter)]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("id,melanoma,nevus,melanoma", "columns 2 ('melanoma') and 4 ('melanoma')"),
        ("id,melanoma,Melanoma ", "columns 2 ('melanoma') and 3 ('Melanoma')"),
        ("id,image_id,Image ID", "columns 2 ('image_id') and 3 ('Image ID')"),
        ("id,\u00a0melanoma,melano\uff4da", "columns 2 ('melanoma') and 3 ('melano\uff4da')"),
        ("id,melanoma,mela\u00adnoma", "columns 2 ('melanoma') and 3 ('mela\\xadnoma')"),
        ("id,melanoma,melanoma.1", "columns 2 ('melanoma') and 3 ('melanoma.1')"),
        ("id,melanoma,Melanoma .1", "columns 2 ('melanoma') and 3 ('Melanoma .1')"),
        ("id,melanoma,melanoma_duplicated_0", "columns 2 ('melanoma') and 3 ("),
        ("id,melanoma,'melanoma'", "columns 2 ('melanoma') and 3 ("),
        ("id,melanoma,\u201cmelanoma\u201d", "columns 2 ('melanoma') and 3 ("),
        ("id,melanoma,mela\u034fnoma\ufe0f", "columns 2 ('melanoma') and 3 ("),
        ("id,melanoma,melanoma\u3164", "columns 2 ('melanoma') and 3 ("),
        ("id,melanoma,melanoma\x07", "columns 2 ('melanoma') and 3 ("),
        ("id,patient_id,patient\u2011id", "columns 2 ('patient_id') and 3 ("),
        ("id,patient_id,patient\u2212id", "columns 2 ('patient_id') and 3 ("),
        ("a,é,e\u0301", "columns 2 ('é') and 3 ("),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, header: str, columns: str) -> None:
    with pytest.raises(UserError, match="have the same name; remove or rename one") as caught:
        read_table(saved(tmp_path, f"{header}\n1,2,3\n"), KNOWN)
    assert columns in str(caught.value)


def test_numbered_columns_without_an_unnumbered_one_are_columns(tmp_path: Path) -> None:
    table = read_table(saved(tmp_path, "image,view.1,view.2\na,1,2\n"), KNOWN)
    assert list(table.columns) == ["image", "view.1", "view.2"]


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (b"PK\x03\x04rest", "an Excel workbook; save it as 'CSV UTF-8'"),
        (b"image,melanoma\na,1\n\xe4,0\n", "line 3: not UTF-8; save it as 'CSV UTF-8'"),
        (b'image,melanoma\n"a,1\nb,0\n', "row 3: not CSV: .*; is a quote left open"),
        (b"sep=,\nimage,melanoma\na,b,1\n", "row 3: 3 cells under 2 columns; quote cells that hold a comma"),
    ],
)
def test_what_is_no_such_table(tmp_path: Path, content: bytes, saying: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"table.csv.*{saying}"):
        read_table(tmp_path / "table.csv", KNOWN)


def test_a_missing_column_is_told_with_those_there(tmp_path: Path) -> None:
    table = read_table(saved(tmp_path, "image,MEL,NV\na,1,0\n"), KNOWN)
    with pytest.raises(UserError, match="no column melanoma; expected a and b; its header is: image, MEL, NV"):
        table.need(("image", "melanoma"), "a and b")


def test_numbers() -> None:
    assert [number(cell) for cell in ("0.5", "0,5", " 1e-3", "1,0")] == [0.5, 0.5, 0.001, 1.0]
    assert [number(cell) for cell in ("", "x", "1.234,5", "1,2,3", "0_1")] == [None] * 5


def test_names_are_compared_without_case_space_and_unicode_form() -> None:
    assert plain(" Seborrheic\u00a0 Keratosis") == plain("seborrheic-keratosis") == "seborrheic_keratosis"
    assert plain(unicodedata.normalize("NFD", "Größe")) == plain("GRÖSSE")


def which(folder: Path, text: str, *ids: str) -> tuple[str, list[str | None]]:
    return identified(read_table(saved(folder, text), ID_COLUMNS), ID_COLUMNS, Ids(ids).find)


def test_a_row_number_beside_the_image_is_not_the_id(tmp_path: Path) -> None:
    for start in (0, 1, 17):
        text = f"id,image\n{start},p/B.JPG\n{start + 1},p/a.jpg\n"
        assert which(tmp_path, text, "a", "B") == ("image", ["B", "a"])
    # Nothing is known: the message is to name the column of images.
    assert which(tmp_path, "id,image\n1,x\n2,y\n", "a") == ("image", [None, None])
    assert which(tmp_path, "id,image\n1,x\n2,y\n", "1", "2") == ("id", ["1", "2"])


def test_two_columns_that_name_two_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 2: column image names 2, column id names 1; remove the column"):
        which(tmp_path, "id,image\n1,2.jpg\n2,1.jpg\n", "1", "2")


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("IMG_1", "IMG_1"),
        ("img_1", "IMG_1"),
        ("IMG_1.jpg", "IMG_1"),
        ("C:\\photos\\IMG_1.JPEG", "IMG_1"),
        ("photos/IMG_1", "IMG_1"),
        ("x/left/2.jpg", "left_2"),
        (unicodedata.normalize("NFD", "Müller") + ".dcm", "Müller"),
        ("'=3.png", "=3"),
        ("2.jpg", None),
        ("IMG_1.txt", None),
        ("TWICE", None),
        ("twice", "twice"),
    ],
)
def test_what_a_cell_names(cell: str, found: str | None) -> None:
    assert Ids(["IMG_1", "left_2", "right_2", "Müller", "=3", "twice", "Twice"]).find(cell) == found


def test_what_we_write_is_read_to_the_letter(tmp_path: Path) -> None:
    name = 'a\udce4 ,"\n '
    write_table(tmp_path / "t.csv", ("name", "value"), [(name, 1), ("", None)])
    assert read_written(tmp_path / "t.csv") == [{"name": name, "value": "1"}, {"name": "", "value": ""}]
