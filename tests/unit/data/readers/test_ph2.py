from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.data import read_raw
from mbdcnn.errors import UserError

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
CASES = {"IMD002": 0, "IMD003": 1, "IMD058": 2}


def _cases(root: Path, folder: str) -> Path:
    for name in CASES:
        for part, stem in (("Dermoscopic_Image", name), ("lesion", f"{name}_lesion")):
            place = root / folder / name / f"{name}_{part}"
            place.mkdir(parents=True)
            Image.new("RGB", (20, 16)).save(place / f"{stem}.bmp")
        (root / folder / name / f"{name}_roi").mkdir()
    return root


def _text(root: Path) -> None:
    lines = ["||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network ||   Colors ||"]
    lines += [f"|| {name} ||              ||        {label}         ||  0 | T || 4 ||" for name, label in CASES.items()]
    lines += ["", "Legends:", "Clinical Diagnosis:", "0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma."]
    (root / "PH2_dataset.txt").write_text("\n".join(lines))


def _sheet(root: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for _ in range(12):
        book.active.append(["PH2 database"])
    columns = ["Common Nevus", "Atypical Nevus", "Melanoma"]
    book.active.append(["Image Name", "Histological Diagnosis", *columns, "Asymmetry"])
    for name, label in CASES.items():
        book.active.append([name, None, *("X" if label == place else None for place in range(3)), 0])
    book.save(root / "PH2_dataset.xlsx")


@pytest.mark.parametrize("folder", ["PH2 Dataset images", "PH2_Dataset_images"])
@pytest.mark.parametrize("labels", [_text, _sheet])
@pytest.mark.parametrize("asked", ["", "..", "images"])
def test_both_label_files_and_all_names(tmp_path: Path, folder: str, labels, asked: str) -> None:
    root = _cases(tmp_path / "PH2Dataset", folder)
    labels(root)
    path = root / folder if asked == "images" else tmp_path if asked == ".." else root
    raw = read_raw(path, CLASSES)
    assert raw.kind == "PH2"
    assert [(record.id, record.label, record.split) for record in raw.records] == [
        ("IMD002", 0, "test"),
        ("IMD003", 0, "test"),
        ("IMD058", 1, "test"),
    ]
    assert [record.mask.name for record in raw.records if record.mask] == [f"{name}_lesion.bmp" for name in CASES]


def test_mistakes(tmp_path: Path) -> None:
    root = _cases(tmp_path / "ph2", "PH2 Dataset images")
    with pytest.raises(UserError, match=r"neither PH2_dataset.txt nor PH2_dataset.xlsx"):
        read_raw(root, CLASSES)
    _text(root)
    with pytest.raises(UserError, match="'melanoma' is not one of the configured classes"):
        read_raw(root, ("nevus", "other"))
    text = (root / "PH2_dataset.txt").read_text()
    (root / "PH2_dataset.txt").write_text(text.replace("IMD058", "IMD059"))
    with pytest.raises(UserError, match="no row for IMD058"):
        read_raw(root, CLASSES)
    (root / "PH2_dataset.txt").write_text(text.replace(" 2 ", " 7 "))
    with pytest.raises(UserError, match="row 4: clinical diagnosis '7'"):
        read_raw(root, CLASSES)
    (root / "PH2_dataset.txt").write_text("nothing")
    with pytest.raises(UserError, match="no diagnoses"):
        read_raw(root, CLASSES)


def test_masks_that_are_missing_or_called_otherwise_are_told(tmp_path: Path) -> None:
    root = _cases(tmp_path / "ph2", "PH2 Dataset images")
    _text(root)
    mask = root / "PH2 Dataset images" / "IMD003" / "IMD003_lesion" / "IMD003_lesion.bmp"
    upper = mask.rename(mask.with_name("imd003_Lesion.BMP"))
    assert read_raw(root, CLASSES).records[1].mask == upper
    other = upper.rename(mask.with_name("outline.bmp"))
    with pytest.raises(UserError, match=r"outline.bmp: not called IMD003_lesion, as a mask of PH2 is; rename it"):
        read_raw(root, CLASSES)
    other.unlink()
    assert read_raw(root, CLASSES).notes == ["no mask of 1 of 3 images (IMD003), looked for in ID_lesion"]


def test_two_diagnoses_of_one_case(tmp_path: Path) -> None:
    root = _cases(tmp_path / "ph2", "PH2 Dataset images")
    _text(root)
    file = root / "PH2_dataset.txt"
    text = file.read_text()
    file.write_text(text, encoding="utf-16")
    assert [record.label for record in read_raw(root, CLASSES).records] == [0, 0, 1]
    file.write_text(f"{text}\n|| IMD002 ||  || 2 ||")
    with pytest.raises(UserError, match="row 9: IMD002 a duplicate with another diagnosis"):
        read_raw(root, CLASSES)


def test_a_sheet_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _cases(tmp_path / "ph2", "PH2 Dataset images")
    (root / "PH2_dataset.xlsx").write_bytes(b"no workbook")
    with pytest.raises(UserError, match="not an Excel workbook"):
        read_raw(root, CLASSES)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match="the extra `train`"):
        read_raw(root, CLASSES)
