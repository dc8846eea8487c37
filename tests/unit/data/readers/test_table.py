from __future__ import annotations

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
        ("image,label\na/1.jpg,nevus\n", "no column split"),
        ("image,split\na/1.jpg,train\n", "neither a column mask nor a column label"),
        ("image,label,label,split\na/1.jpg,nevus,nevus,train\n", "column 'label' stands twice"),
        ("image,label,split\na/1.jpg,nevus,train\na/9.jpg,nevus,train\n", "row 3: .*9.jpg: no such file"),
        ("image,mask,split\na/1.jpg,m/9.png,train\n", "row 2: .*9.png: no such file"),
        ("image,label,split\na/1.jpg,wart,train\n", "row 2: class 'wart' is not one of .* nevus, melanoma"),
        ("image,label,split\na/1.jpg,nevus,holdout\n", "row 2: split 'holdout'; expected train"),
        ("image,label,split\n,nevus,train\n", "row 2: no image"),
        ("image,label,split\na/1.jpg,nevus,train\na/1.jpg,nevus,test\n", "row 3: the id a_1 stands already in .*row 2"),
        ("image,label,split,id\na/1.jpg,nevus,train,x\nb/1.jpg,nevus,train,X\n", "row 3: the id X stands already"),
        ("image,label,split,id\na/1.jpg,nevus,train,../x\n", "'../x' cannot name a file"),
        ("image,label,split,id\na/1.jpg,nevus,train,..\n", "'..' cannot name a file"),
        ("image,label,split\na/1.jpg,nevus,train,more\n", "row 2: 4 cells under 3 columns"),
    ],
)
def test_mistakes_name_the_row(folder: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_raw(_table(folder, text), CLASSES)
    assert "\n" not in str(caught.value)
    assert "table.csv" in str(caught.value) or "cannot name" in str(caught.value)


def test_other_encodings_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        read_raw(_table(folder, "image,label,split\na/ü.jpg,nevus,train\n", "latin-1"), CLASSES)
