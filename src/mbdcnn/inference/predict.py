"""Prediction of many files: results written one by one, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from PIL import Image

from mbdcnn.errors import UserError
from mbdcnn.inference.predictor import Prediction, Predictor, as_picture, batches, cam_overlay, overlay
from mbdcnn.inference.protocol import Inputs, ProtocolName, inputs_of_picture
from mbdcnn.progress import Progress, silent

PICTURE_FILES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
OVERLAY_SIDE = 1600
"""Longer side of overlay pictures; masks keep the picture's own size."""
MASK_SUFFIXES = ("_segmentation", "_superpixels")
"""Files that lie beside the pictures in the ISIC layout."""


def find_pictures(sources: Sequence[str], apart_from: Path | None = None) -> list[Path]:
    """List the pictures that files, folders and glob patterns name, each once.

    Args:
        sources: what the user named.
        apart_from: folder of earlier results, which folders and patterns pass over.

    Raises:
        UserError: one of them names none.
    """
    results = apart_from.resolve() if apart_from else None
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_file():
            files = [path]
        else:
            names = path.rglob("*") if path.is_dir() else map(Path, glob(source, recursive=True))
            files = [file for file in sorted(names) if _is_picture(file) and results not in file.resolve().parents]
        if not files:
            raise UserError(f"{source}: no pictures there")
        found |= dict.fromkeys(files)
    return list(found)


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    out: Path,
    protocol: ProtocolName = "fast",
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Predict files and write `NAME_mask.png`, `_coarse.png`, `_cam.jpg` and `_overlay.jpg` for each into `out`.

    `predictions.json` and `predictions.csv` list them all. A file that cannot be read is listed with the reason
    under `problem`, and the rest go on.

    Returns:
        One entry a file: what `predictions.json` holds.

    Raises:
        UserError: results would lie among the pictures, where they could replace masks of the same name.
    """
    among = next((file for file in files if file.resolve().parent == out.resolve()), None)
    if among is not None:
        raise UserError(f"{out}: {among.name} lies there; choose another folder for the results")
    out.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for batch in batches(zip(files, unique_names(files), strict=True)):
        entries += _predict_batch(predictor, batch, out, protocol)
        progress(len(entries), len(files))
    _write_tables(out, entries, predictor.classes)
    return entries


def _predict_batch(
    predictor: Predictor, batch: Sequence[tuple[Path, str]], out: Path, protocol: ProtocolName
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"file": str(file), "name": name} for file, name in batch]
    readable: list[tuple[dict[str, Any], Image.Image, Inputs]] = []
    for entry in entries:
        try:
            picture = as_picture(entry["file"])
        except UserError as error:
            entry["problem"] = str(error)
        else:
            inputs = inputs_of_picture(picture, predictor.bundle.config.data, protocol)
            picture.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
            readable.append((entry, picture, inputs))
    if readable:
        predictions = predictor.predict_inputs([inputs for *_, inputs in readable], protocol)
        for (entry, small, _), prediction in zip(readable, predictions, strict=True):
            entry |= prediction.to_dict()
            _write_pictures(out, entry["name"], small, prediction)
    return entries


def _write_pictures(out: Path, name: str, small: Image.Image, prediction: Prediction) -> None:
    _save(Image.fromarray(prediction.mask), out / f"{name}_mask.png")
    _save(Image.fromarray(prediction.coarse_mask), out / f"{name}_coarse.png")
    _save(Image.fromarray(cam_overlay(small, prediction)), out / f"{name}_cam.jpg")
    _save(Image.fromarray(overlay(small, prediction)), out / f"{name}_overlay.jpg")


def _save(picture: Image.Image, path: Path) -> None:
    """Write beside and rename, so that no half-written picture is ever met."""
    draft = path.with_name(f".{path.name}")
    picture.save(draft, format="PNG" if path.suffix == ".png" else "JPEG", quality=92)
    draft.replace(path)


def _write_tables(out: Path, entries: Sequence[dict[str, Any]], classes: Sequence[str]) -> None:
    _write_text(out / "predictions.json", json.dumps(entries, indent=2) + "\n")
    stream = io.StringIO(newline="")
    rows = [_flat(entry, classes) for entry in entries]
    writer = csv.DictWriter(stream, fieldnames=list(_flat({}, classes)))
    writer.writeheader()
    writer.writerows(rows)
    _write_text(out / "predictions.csv", stream.getvalue())


def _write_text(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    draft.replace(path)


def _flat(entry: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    box, uncertainty = entry.get("bounding_box") or {}, entry.get("uncertainty") or {}
    return {
        "file": entry.get("file"),
        "name": entry.get("name"),
        **{name: entry.get("probabilities", {}).get(name) for name in classes},
        "decision": entry.get("decision"),
        "area_fraction": entry.get("area_fraction"),
        **{edge: box.get(edge) for edge in ("left", "upper", "right", "lower")},
        **{f"uncertainty_{name}": uncertainty.get(name) for name in ("entropy", "outline", "disagreement")},
        "problem": entry.get("problem"),
    }


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICTURE_FILES and not path.stem.endswith(MASK_SUFFIXES)


def unique_names(files: Iterable[Path]) -> list[str]:
    """Give each file a name of its own: its stem, and where stems repeat a number after it."""
    taken: set[str] = set()
    names = []
    for file in files:
        name, number = file.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names
