"""What lies in a folder: images, and what looks like one and is passed over, which is always said."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path

from mbdcnn.data.images.decoding import IMAGE_SUFFIXES
from mbdcnn.errors import UserError
from mbdcnn.system.tables import folded

READABLE_SUFFIXES = IMAGE_SUFFIXES | {".dcm", ".dicom"}
OTHER_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".avif", ".jxl", ".jxr", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"}
    | {".srw", ".pef", ".psd", ".tga", ".pcx", ".ppm", ".pgm", ".pnm", ".svg", ".eps", ".exr", ".ico", ".nii", ".nrrd"}
)
"""Endings of images that the decoder does not take."""

LONGEST = 4096
"""Signs of a path, on Linux."""
MASK_WORDS = "segmentation|seg|mask|gt"
"""How the name of a mask may go on after that of its image."""
_RESULT = re.compile(
    rf"((.+?)(?:-\d+)?)[_. -]({MASK_WORDS}|coarse|cam|overlay|superpixels|report(?=\.dcm))\.\w+", re.IGNORECASE
)
"""The image's name and what a file shows of it: what `predict` writes, and what lies beside ISIC's images."""
_ALWAYS = ("segmentation", "superpixels")
_TABLES = ("predictions.json", "predictions.csv")
_OWN_FOLDERS = ("prepared.json", "masks.json", "run.json", "evaluation.json", "model.json")
"""Files by which folders that this package writes are known; what lies in them is no photograph."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"II*\0", b"MM\0*", b"GIF8", b"\0\0\0\x0cjP  ")


@dataclass
class Found:
    """Images, and what was passed over."""

    images: dict[Path, None] = field(default_factory=dict)
    """In their order, each once."""
    passed: defaultdict[str, dict[Path, None]] = field(default_factory=lambda: defaultdict(dict))
    """Why, and what remedy there is: which files."""

    def notes(self) -> list[str]:
        """Say what was passed over, a line for each reason."""
        return [f"passed over {some([path.name for path in files])}: {why}" for why, files in self.passed.items()]


def _why_none(source: str, path: Path | None, places: Sequence[Path]) -> str:
    if path is not None or places:
        return "no images there"
    if "://" in source:
        return f"addresses are not read; fetch the image first: curl -O {shlex.quote(source)}"
    return "no file fits this pattern" if has_magic(source) else "no such file or folder"


def find_images(sources: Sequence[str], apart_from: Path | None = None) -> Found:
    """Find the images that files, folders and glob patterns name. A file that is named is taken whatever it is.

    Args:
        sources: what the user named.
        apart_from: folder of earlier results, which folders and patterns pass over.

    Raises:
        UserError: one of them names none.
    """
    found = Found()
    for source in sources:
        path = existing(Path(source))
        if path is not None and path.is_file():
            found.images[path] = None
            continue
        here = Found()
        places = [path] if path else [Path(name) for name in sorted(glob(source, recursive=True))]
        files = [file for place in places for file in _below(place, here)]
        out = apart_from.resolve() if apart_from else None
        # Not Path's own, which raises an error where links go in a circle.
        _sort(sorted(file for file in files if out not in Path(os.path.realpath(file)).parents), here)
        if not here.images:
            raise UserError("; ".join([f"{source}: {_why_none(source, path, places)}", *here.notes()]))
        found.images |= here.images
        for why, passed in here.passed.items():
            found.passed[why] |= passed
    return found


def is_hidden(path: Path) -> bool:
    """Say whether a name is one that systems hide, such as the `._NAME.jpg` that macOS leaves beside `NAME.jpg`."""
    return path.name.startswith(".")


def looks_like_image(path: Path) -> bool:
    """Say whether a name is an image's, of a kind that can be read or not."""
    return path.suffix.lower() in READABLE_SUFFIXES or path.suffix.lower() in OTHER_SUFFIXES


def existing(path: Path, listed: dict[Path, dict[str, list[str]]] | None = None) -> Path | None:
    """Find a file or folder by its name, or by one that differs in case or Unicode form alone; None if none is so.

    Args:
        path: what is looked for.
        listed: folders listed so far, kept for the next name.
    """
    # Not Path's own, which raises an error where a name is too long.
    if os.path.exists(path):
        return path
    if len(str(path)) > LONGEST:
        return None
    listed = {} if listed is None else listed
    above = next((folder for folder in path.parents if os.path.exists(folder)), path)
    found = above
    for part in path.parts[len(above.parts) :]:
        if found not in listed:
            listed[found] = _names_in(found)
        names = listed[found].get(folded(part), [])
        if len(names) != 1:
            return None
        found = found / names[0]
    return found if found != above else None


def some(names: Sequence[str], shown: int = 3) -> str:
    """Name the first few and say how many more there are."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _names_in(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    try:
        for name in os.listdir(folder):
            names[folded(name)].append(name)
    except OSError:
        return {}
    return names


def _below(place: Path, found: Found) -> Iterator[Path]:
    """Give a file, or what lies in a folder and below; links to folders and folders of our own are not gone into."""
    if not place.is_dir():
        yield place
        return

    def unreadable(error: OSError) -> None:
        found.passed["a folder that cannot be read"][Path(error.filename)] = None

    for name, folders, files in os.walk(place, onerror=unreadable):
        folder = Path(name)
        if any(mark in files for mark in _OWN_FOLDERS):
            found.passed["a folder that mbdcnn wrote"][folder] = None
            folders.clear()
            continue
        links = [inner for inner in folders if (folder / inner).is_symlink()]
        for inner in links:
            found.passed["a link to a folder; name it to have its images too"][folder / inner] = None
        folders[:] = sorted(
            inner for inner in folders if inner not in links and not inner.startswith((".", "__MACOSX"))
        )
        yield from (folder / file for file in sorted(files))


def _sort(files: Sequence[Path], found: Found) -> None:
    """Tell images from what is passed over."""
    candidates = [file for file in files if _is_candidate(file, found)]
    results = _results(candidates)
    for file in candidates:
        if file in results:
            if not file.stem.lower().endswith("_superpixels"):  # ISIC's, which nobody takes for images
                found.passed["results or masks of an image; name a file to have it predicted"][file] = None
        else:
            found.images[file] = None


def _is_candidate(file: Path, found: Found) -> bool:
    suffix = file.suffix.lower()
    if not file.is_file():
        if looks_like_image(file) and not file.is_dir():
            found.passed["no file there, but a pipe, a device or a link to nothing"][file] = None
        return False
    if is_hidden(file):
        if looks_like_image(file):
            found.passed["hidden files"][file] = None
        return False
    if suffix in READABLE_SUFFIXES:
        return True
    if suffix in OTHER_SUFFIXES:
        found.passed["of a kind that cannot be read; save them as JPEG or PNG"][file] = None
        return False
    start = _start(file)
    if start[128:] == b"DICM":
        return file.name.upper() != "DICOMDIR"
    if start.startswith(_MAGIC):
        if not suffix:
            return True
        found.passed["images by their content, but not by their names; give them an ending such as .jpg"][file] = None
    return False


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(132)
    except OSError:
        return b""


def _results(files: Sequence[Path]) -> Collection[Path]:
    """Find among images what shows a result: its image is there too, or a table of predictions, or another result."""
    shown = {file: match for file in files if (match := _RESULT.fullmatch(file.name))}
    names = {folded(file.stem) for file in files if file not in shown}
    families: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for file, match in shown.items():
        families[file.parent, match[1]].add(match[3].lower())
    tables = {folder: any((folder / name).is_file() for name in _TABLES) for folder in {file.parent for file in shown}}
    return {
        file
        for file, match in shown.items()
        if match[3].lower() in _ALWAYS
        or {folded(match[1]), folded(match[2])} & names
        or len(families[file.parent, match[1]]) > 1
        or tables[file.parent]
    }
