"""Masks in a folder, found by the ids of their images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mbdcnn.data.images.decoding import IMAGE_SUFFIXES
from mbdcnn.data.readers.folders import MASK_WORDS, is_hidden, looks_like_image, some
from mbdcnn.data.readers.ids import Ids
from mbdcnn.errors import UserError

NAMES = "ID.png, or ID and _segmentation, _mask, _lesion, _seg or _gt, in any case and format"
_ENDING = re.compile(rf"(.+)[_. -](?:{MASK_WORDS}|lesion)", re.IGNORECASE)
_FOLDER = re.compile(r"mask|truth|annotation|segment|label", re.IGNORECASE)
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")


@dataclass(frozen=True)
class MaskFiles:
    """What was found in a folder."""

    of: Mapping[str, Path]
    """By id."""
    unused: list[Path]
    """Image files that are no mask of these images."""


def find_masks(folder: Path, ids: Collection[str], apart_from: Collection[Path] = ()) -> MaskFiles:
    """Find masks called as `NAMES` says. A JPEG counts where there is nothing better.

    Args:
        folder: where they lie; may be missing.
        ids: the images.
        apart_from: files that are no masks.

    Raises:
        UserError: an image has two.
    """
    known = Ids(ids)
    candidates: dict[str, list[Path]] = defaultdict(list)
    unused: list[Path] = []
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for file in files:
        if is_hidden(file) or not looks_like_image(file) or file in apart_from or not file.is_file():
            continue
        image_id = named_after(file, known)
        if image_id is None or file.suffix.lower() not in IMAGE_SUFFIXES:
            unused.append(file)
        else:
            candidates[image_id].append(file)
    found: dict[str, Path] = {}
    for image_id, masks in candidates.items():
        best = [file for file in masks if file.suffix.lower() not in _LOSSY] or masks
        if len(best) > 1:
            raise UserError(f"{folder}: {best[0].name} and {best[1].name} are both masks of {image_id}; keep one")
        found[image_id] = best[0]
        unused += [file for file in masks if file not in best]
    return MaskFiles(found, unused)


def named_after(file: Path, known: Ids) -> str | None:
    """Give the id of the image that a file is called the mask of."""
    marked = _ENDING.fullmatch(file.stem)
    return known.find(file.stem) or (known.find(marked[1]) if marked else None)


def masks_of_split(images: Mapping[str, Path], folder: Path, root: Path) -> tuple[Mapping[str, Path], list[str]]:
    """Find the masks of a split's images, and what must be said of them.

    Args:
        images: the images by id.
        folder: where the masks should lie.
        root: the data set; folders in it are looked through where there are none.

    Raises:
        UserError: there are masks, but of other names or in another folder; or two of one image.
    """
    masks = find_masks(folder, images.keys(), set(images.values()))
    if not masks.of:
        for other in _other_folders(folder, root, images):
            found = find_masks(other, images.keys(), set(images.values())).of.values()
            # Elsewhere `ID.png` may as well be another copy of the image.
            astray = [file for file in found if _ENDING.fullmatch(file.stem) or _FOLDER.search(other.name)]
            if astray:
                own = any(file.parent == other for file in images.values())
                beside = other.parent == folder.parent and not own and not folder.exists()
                raise UserError(
                    f"{other}: holds masks of {len(astray)} of {len(images)} images, such as {astray[0].name}; they "
                    f"are looked for in {folder}: {'rename the folder so' if beside else 'move them there'}"
                )
        if masks.unused:
            names = some([file.name for file in masks.unused])
            raise UserError(
                f"{folder}: no mask of any of the {len(images)} images, such as {next(iter(images))}, but {names}; "
                f"masks are called {NAMES}: rename them, or remove the folder to continue without masks"
            )
        return {}, [f"no masks of {len(images)} images; they are looked for in {folder}"]
    return masks.of, list(_notes(masks, folder, images))


def _notes(masks: MaskFiles, folder: Path, images: Mapping[str, Path]) -> Iterator[str]:
    missing = [image_id for image_id in images if image_id not in masks.of]
    if missing:
        yield (
            f"{folder.name}: masks of {len(masks.of)} of {len(images)} images, none of {some(missing)}; they are "
            f"looked for as {NAMES}"
        )
    if masks.unused:
        yield f"{folder.name}: {len(masks.unused)} image files not used: {some([file.name for file in masks.unused])}"


def _other_folders(folder: Path, root: Path, images: Mapping[str, Path]) -> Iterator[Path]:
    """Give folders in which masks may lie by mistake: above, beside and below the right one, and the images' own."""
    own = {file.parent for file in images.values()}
    for above in dict.fromkeys((folder, folder.parent, root, *own)):
        if above.is_dir():
            yield above
            yield from sorted(inner for inner in above.iterdir() if inner.is_dir() and not is_hidden(inner))
