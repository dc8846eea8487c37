"""The PH2 database, in its own layout or with underscores for spaces. All of it is test data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

from mbdcnn.data.images.decoding import IMAGE_SUFFIXES
from mbdcnn.data.readers.folders import some
from mbdcnn.data.readers.mask_files import find_masks
from mbdcnn.data.readers.records import RawData, Record, class_index
from mbdcnn.errors import UserError
from mbdcnn.system.extras import not_installed
from mbdcnn.system.tables import folded, plain, read_text, unique_columns

CLASS_NAMES = {"0": "nevus", "1": "nevus", "2": "melanoma"}
"""Clinical diagnosis: common nevus, atypical nevus, melanoma."""

SHEET_BYTES, SHEET_CELLS = 10_000_000, 1_000_000
"""What a workbook may unpack to; PH2's has 300 kB and some thousand cells."""

_COLUMNS = {"Common Nevus": "0", "Atypical Nevus": "1", "Melanoma": "2"}


def find_root(path: Path) -> Path | None:
    """Find the folder that holds the folder of images: this one, the one above or the one below."""
    if not path.is_dir():
        return None
    below = sorted(folder for folder in path.iterdir() if folder.is_dir())
    return next((folder for folder in [path, path.resolve().parent, *below] if _is_root(folder, path)), None)


def read(root: Path, classes: tuple[str, ...]) -> RawData:
    """Read every case.

    Raises:
        UserError: an image or its diagnosis is missing, or `nevus` or `melanoma` is no class.
    """
    label_file = _label_file(root)
    diagnoses = _read_text(label_file) if label_file.suffix == ".txt" else _read_sheet(label_file)
    images = _images_folder(root)
    if images is None or not diagnoses:
        raise UserError(f"{label_file}: no diagnoses in it; use the file that comes with PH2")
    records: list[Record] = []
    for case in sorted(folder for folder in images.iterdir() if re.fullmatch(r"IMD\d+", folder.name)):
        if case.name not in diagnoses:
            raise UserError(f"{label_file}: no row for {case.name}, which lies in {images}")
        label = class_index(CLASS_NAMES[diagnoses[case.name]], classes, str(label_file))
        records.append(Record(case.name, _image(case), _mask(case), label, "test"))
    surplus = len(diagnoses.keys() - {record.id for record in records})
    notes = [f"{label_file.name}: {surplus} of {len(diagnoses)} rows have no image"] if surplus else []
    without = [record.id for record in records if record.mask is None]
    if without:
        notes.append(f"no mask of {len(without)} of {len(records)} images ({some(without)}), looked for in ID_lesion")
    return RawData("PH2", root, records, [label_file], notes)


def _is_root(folder: Path, asked: Path) -> bool:
    images = _images_folder(folder)
    return images is not None and (folder == asked or asked.resolve() in (images.resolve(), folder.resolve().parent))


def _images_folder(root: Path) -> Path | None:
    folders = (folder for folder in root.iterdir() if folder.is_dir())
    return next((folder for folder in folders if plain(folder.name) == "ph2_dataset_images"), None)


def _label_file(root: Path) -> Path:
    for suffix in (".txt", ".xlsx"):
        for file in sorted(root.iterdir()):
            if file.suffix.lower() == suffix and plain(file.stem) == "ph2_dataset" and file.is_file():
                return file
    raise UserError(f"{root}: neither PH2_dataset.txt nor PH2_dataset.xlsx; the diagnoses are read from one of them")


def _image(case: Path) -> Path:
    folder = case / f"{case.name}_Dermoscopic_Image"
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    called = (file for file in files if folded(file.stem) == folded(case.name))
    image = next((file for file in called if file.suffix.lower() in IMAGE_SUFFIXES), None)
    if image is None:
        raise UserError(f"{folder}: no image of {case.name} in it")
    return image


def _mask(case: Path) -> Path | None:
    folder = case / f"{case.name}_lesion"
    masks = find_masks(folder, [case.name])
    if masks.unused and not masks.of:
        raise UserError(f"{masks.unused[0]}: not called {case.name}_lesion, as a mask of PH2 is; rename it")
    return masks.of.get(case.name)


def _read_text(file: Path) -> dict[str, str]:
    """Read lines such as `|| IMD003 ||  || 0 || ...`: name, histological and clinical diagnosis."""
    diagnoses: dict[str, str] = {}
    for number, line in enumerate(read_text(file, errors="replace").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) < 4 or not re.fullmatch(r"IMD\d+", cells[1]):
            continue
        if cells[3] not in CLASS_NAMES:
            raise UserError(f"{file} row {number}: clinical diagnosis {cells[3]!r}; expected 0, 1 or 2")
        if diagnoses.setdefault(cells[1], cells[3]) != cells[3]:
            raise UserError(f"{file} row {number}: {cells[1]} a duplicate with another diagnosis")
    return diagnoses


def _read_sheet(file: Path) -> dict[str, str]:
    """Read the sheet, whose header stands in row 13 and whose classes are columns marked with an X."""
    rows = _sheet_rows(file)
    header = next((row for row in rows if "Image Name" in row), [])
    missing = [name for name in ("Image Name", *_COLUMNS) if name not in header]
    if missing:
        raise UserError(f"{file}: no column {missing[0]}; use the file that comes with PH2")
    unique_columns(file, header)
    diagnoses: dict[str, str] = {}
    for row in rows:
        name = row[header.index("Image Name")]
        marked = [value for column, value in _COLUMNS.items() if row[header.index(column)].upper() == "X"]
        if not name:
            continue
        if len(marked) != 1:
            raise UserError(f"{file}: {name} has {len(marked)} diagnoses marked with an X; expected one")
        if diagnoses.setdefault(name, marked[0]) != marked[0]:
            raise UserError(f"{file}: {name} a duplicate with another diagnosis")
    return diagnoses


def _sheet_rows(file: Path) -> Iterator[list[str]]:
    try:
        import openpyxl
    except ImportError:
        raise not_installed(f"{file}: reading it", "train") from None
    try:
        with ZipFile(file) as parts:
            large = sum(part.file_size for part in parts.infolist()) > SHEET_BYTES
        sheet = None if large else openpyxl.load_workbook(file, data_only=True).worksheets[0]
    except Exception as error:  # openpyxl fails in many ways on what is no workbook
        raise UserError(f"{file}: not an Excel workbook ({type(error).__name__})") from None
    # A cell far out makes a table of billions, all but one of them empty.
    if sheet is None or sheet.max_row * sheet.max_column > SHEET_CELLS:
        raise UserError(f"{file}: far larger than PH2's; use the file that comes with it")
    for row in sheet.iter_rows(values_only=True):
        yield ["" if cell is None else str(cell).strip() for cell in row]
