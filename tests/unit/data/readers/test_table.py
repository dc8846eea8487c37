from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.data import read_raw
from mbdcnn.errors import UserError

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "b/1.jpg", "a/2.png", "m/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 16)).save(tmp_path / name)
    return tmp_path


def _table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "table.csv"
    file.write_text(text, encoding=encoding, newline="")
    return file


def test_a_full_table(folder: Path) -> None:
    text = (
        "image,mask,label,split,patient\n"
        "a/1.jpg,m/1.png,Melanoma,training,p1\n"
        "a/2.png,,seborrheic keratosis,val,\n"
        "\n"
        f"{folder / 'b' / '1.jpg'},m/1.png,,TEST,p2\n"
    )
    raw = read_raw(_table(folder, text), CLASSES)
    assert [(record.id, record.label, record.split, record.patient) for record in raw.records] == [
        ("a_1", 1, "train", "p1"),
        ("2", 2, "validation", None),
        ("b_1", None, "test", "p2"),
    ]
    assert [record.mask for record in raw.records] == [folder / "m/1.png", None, folder / "m/1.png"]
    assert all(record.image.is_file() for record in raw.records)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_excel_writes(folder: Path, separator: str, newline: str, encoding: str) -> None:
    rows = ["Image,Split,Label,Age", "a\\1.jpg,train,NEVUS,40", "a/2.png,test,nevus,50"]
    text = newline.join(row.replace(",", separator) for row in rows)
    raw = read_raw(_table(folder, text, encoding), CLASSES)
    assert [(record.id, record.label) for record in raw.records] == [("1", 0), ("2", 0)]
    assert raw.notes == ["table.csv: columns not used: age"]


def test_ids_can_be_given(folder: Path) -> None:
    raw = read_raw(_table(folder, "id,image,label,split\nx,a/1.jpg,nevus,train\ny,b/1.jpg,nevus,test\n"), CLASSES)
    assert [record.id for record in raw.records] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column image"),
        ("image,label,split\n", "no rows below the header"),
        (
            "image,label,Set\na/1.jpg,nevus,train\nb/1.jpg,nevus,Val\n",
            "no column split, but Set holds train, val; call it",
        ),
        ("image,split\na/1.jpg,train\n", "neither a column mask nor a column label"),
        (
            "image,label,label,split\na/1.jpg,nevus,nevus,train\n",
            r"columns 2 .* and 3 \('label'\) have the same name; remove",
        ),
        ("image,label,split\na/1.jpg,nevus,train\na/9.jpg,nevus,train\n", "row 3: .*9.jpg: no such file"),
        ("image,mask,split\na/1.jpg,m/9.png,train\n", "row 2: .*9.png: no such file"),
        ("image,label,split\na/1.jpg,wart,train\n", "row 2: class 'wart' is not one of .* nevus, melanoma"),
        ("image,label,split\na/1.jpg,nevus,holdout\n", "row 2: split 'holdout'; expected train"),
        ("image,label,split\n,nevus,train\n", "row 2: no image"),
        ("image,label,split\na/1.jpg,nevus,train\na/1.jpg,nevus,test\n", "row 3: the id a_1 is a duplicate of .*row 2"),
        ("image,label,split,id\na/1.jpg,nevus,train,x\nb/1.jpg,nevus,train,X\n", "row 3: the id X is a duplicate"),
        ("image,label,split,id\na/1.jpg,nevus,train,../x\n", "'../x' cannot name a file"),
        ("image,label,split,id\na/1.jpg,nevus,train,..\n", "'..' cannot name a file"),
        ("image,label,split,Label \na/1.jpg,nevus,train,melanoma\n", "columns 2 .* and 4 .* have the same name"),
        ("image,label,split,patient,Patient\na/1.jpg,nevus,train,1,2\n", "columns 4 .* and 5 .* have the same name"),
        ("image,label,split\na/1.jpg,nevus,train,more\n", "row 2: 4 cells under 3 columns"),
    ],
)
def test_mistakes_name_the_row(folder: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_raw(_table(folder, text), CLASSES)
    assert "\n" not in str(caught.value)
    assert "table.csv" in str(caught.value) or "cannot name" in str(caught.value)


def test_without_a_column_split_no_record_has_one(folder: Path) -> None:
    raw = read_raw(_table(folder, "image,label,age\na/1.jpg,nevus,40\nb/1.jpg,nevus,50\n"), CLASSES)
    assert [record.split for record in raw.records] == ["", ""]


def test_other_encodings_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"table.csv line 2: not UTF-8; save it as"):
        read_raw(_table(folder, "image,label,split\na/ü.jpg,nevus,train\n", "latin-1"), CLASSES)


def test_where_images_come_from_and_how_sure_their_labels_are(folder: Path) -> None:
    text = (
        "image,label,split,source,weight,aspect\n"
        "a/1.jpg,nevus:0.25|seborrheic keratosis:0.75,train,clinic,0.5,1.5\n"
        "a/2.png,nevus,train,,,\n"
    )
    first, second = read_raw(_table(folder, text), CLASSES).records
    assert (first.label, first.shares, first.source, first.weight, first.aspect) == (
        2,
        (0.25, 0, 0.75),
        "clinic",
        0.5,
        1.5,
    )
    assert (second.label, second.shares, second.source, second.weight, second.aspect) == (0, None, "", 1.0, None)


@pytest.mark.parametrize(
    ("label", "weight", "message"),
    [
        ("nevus:0.5|naevus:0.5", "", "row 2: class 'naevus' is not one of the configured classes"),
        ("nevus:0.5|melanoma", "", "expected each class once with its share, such as"),
        ("nevus:0.5|nevus:0.5", "", "expected each class once"),
        ("nevus:0.5|melanoma:0.4", "", "the shares sum to 0.9 instead of 1"),
        ("nevus", "0", "row 2: weight '0'; expected a number above 0"),
        ("nevus", "often", "row 2: weight 'often'; expected a number above 0"),
    ],
)
def test_labels_and_weights_that_cannot_be_are_refused(folder: Path, label: str, weight: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read_raw(_table(folder, f"image,label,split,weight\na/1.jpg,{label},train,{weight}\n"), CLASSES)


def test_what_else_a_table_may_be(folder: Path) -> None:
    rows = "1;A/1.JPG;nevus;Training ;;\n2;a/2.png;melanoma;Testing;;\n"
    for name, encoding in (("table.txt", "utf-16"), ("table.tsv", "utf-8"), ("TABLE.CSV", "utf-8-sig")):
        (folder / name).write_text(f"sep=;\nID;Image;label ;Split;;\n{rows}", encoding=encoding)
        raw = read_raw(folder / name, CLASSES)
        assert [(record.id, record.image.name, record.label, record.split) for record in raw.records] == [
            ("1", "1.jpg", 0, "train"),
            ("2", "2.png", 1, "test"),
        ]
        assert raw.notes == [f"{name}: column id only numbers the rows; the ids are the files' names"]
    (folder / "table.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="an Excel workbook; save it as 'CSV UTF-8'"):
        read_raw(folder / "table.xlsx", CLASSES)


def test_names_in_another_unicode_form(folder: Path) -> None:
    split, composed = "Mu\u0308ller", "M\u00fcller"
    (folder / split).mkdir()
    (folder / "a/1.jpg").rename(folder / split / f"{split}.jpg")
    raw = read_raw(_table(folder, f"image,label,split\n{composed}\\{composed}.jpg,nevus,train\n"), CLASSES)
    assert raw.records[0].image == folder / split / f"{split}.jpg"
    assert raw.records[0].id == composed
