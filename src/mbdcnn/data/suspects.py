"""What in masks deserves a look, told by `prepare` with ids, and what can only be a mistake."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts.manifest import Row
from mbdcnn.data.images.kinds import command
from mbdcnn.data.readers.folders import some
from mbdcnn.data.readers.ids import Ids
from mbdcnn.data.readers.mask_files import named_after
from mbdcnn.data.readers.records import Record
from mbdcnn.errors import UserError

BORDER = 0.95
"""Part of an image's edge from which a lesion that leaves skin inside looks like an inverted mask: so do 5 of 7,683
masks of HAM10000, and none of ISIC-2017."""

INSET = 0.04
"""Part of the shorter side within which a line along an image's edge is a frame that was drawn round the mask."""

HOLE = 0.01
"""Part of a mask that must be skin, within what is lesion all along a black frame, for it to look inverted."""

KINDS = {
    "empty": "empty masks",
    "grey": "masks with grey edges, as compression and resizing leave them, cut at half",
    "turned": "masks turned with their images, as EXIF says",
    "profile": "images with a colour profile that is damaged or of another kind, which was ignored",
    "full": "warning: masks that call the whole image lesion",
    "inverted": "warning: masks with lesion all along the edge and skin inside, as if inverted",
    "framed": "warning: masks with a bright frame along the edge, which counts as lesion",
    "misnamed": "warning: masks named after another image",
    "shared": "warning: the same mask for different images",
}
"""Kinds of what is found, in words."""

WRONG = {"full": "call the whole image lesion", "inverted": "are lesion all along the edge, as if inverted"}
"""Kinds of masks of which scores must say how many are in the truth, and what they do."""

NOTEWORTHY = 0.05
"""Part of the truth from which they must: a few large lesions do fill their images."""

Found = Mapping[str, Sequence[str]]
"""Ids of images by kind; those that share something in one string."""


@dataclass(frozen=True)
class MaskLook:
    """What is kept of a mask to judge it."""

    empty: bool
    full: bool
    inverted: bool
    framed: bool
    grey: bool
    turned: bool
    digest: str

    @classmethod
    def of(cls, mask: Image.Image, *, grey: bool, turned: bool) -> MaskLook:
        """Look at a 1-bit mask."""
        lesion = np.asarray(mask)
        inset = max(2, round(INSET * min(lesion.shape)))
        inner = lesion[inset:-inset, inset:-inset]
        edged, edged_within = _on_edge(lesion) >= BORDER, _on_edge(inner) >= BORDER
        framed = edged and inner.size > 0 and _on_edge(inner) < 0.5
        empty, full = not lesion.any(), bool(lesion.all())
        digest = hashlib.sha256(f"{mask.size}".encode() + np.packbits(lesion).tobytes()).hexdigest()
        inverted = not full and ((edged and not framed) or (edged_within and inner.mean() <= 1 - HOLE))
        return cls(empty, full, bool(inverted), bool(framed), grey, turned, digest)


def _on_edge(lesion: npt.NDArray[np.bool_]) -> float:
    """Give the part of an area's outermost pixels that are lesion; 0 where there are none."""
    if not lesion.size:
        return 0.0
    return float(np.concatenate([lesion[0], lesion[-1], lesion[:, 0], lesion[:, -1]]).mean())


def suspects(
    records: Sequence[Record], looks: Sequence[MaskLook | None], pixels: Sequence[str], profiles: Sequence[bool]
) -> dict[str, list[str]]:
    """Sort ids by what was found.

    Args:
        records: the images.
        looks: what each one's mask is like.
        pixels: a digest of each image, the same for equal ones.
        profiles: whether its colour profile was ignored.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    shared: dict[str, list[int]] = defaultdict(list)
    known = Ids(record.id for record in records)
    for place, (record, look) in enumerate(zip(records, looks, strict=True)):
        if profiles[place]:
            found["profile"].append(record.id)
        if look is None or record.mask is None:
            continue
        for kind in ("empty", "full", "inverted", "framed", "grey", "turned"):
            if getattr(look, kind):
                found[kind].append(record.id)
        if not look.empty and not look.full:
            shared[look.digest].append(place)
        own = named_after(record.mask, Ids([record.id, record.image.stem])) is not None
        if not own and named_after(record.mask, known) is not None:
            found["misnamed"].append(f"{record.id}: {record.mask.name}")
    for places in shared.values():
        if len({pixels[place] for place in places}) > 1:
            found["shared"].append(" = ".join(records[place].id for place in places))
    return found


def lines(found: Found) -> list[str]:
    """Tell what was found, kind by kind."""
    return [f"{words}: {len(found[kind])} ({some(found[kind], 5)})" for kind, words in KINDS.items() if found.get(kind)]


def cautions_of_truth(found: Found, rows: Sequence[Row]) -> list[str]:
    """Say what scores on these images are worth where their masks are hardly true."""
    with_mask = {row.id for row in rows if row.has_mask}
    counts = {kind: len(with_mask.intersection(found.get(kind, ()))) for kind in WRONG}
    return [
        f"{count} of the {len(with_mask)} masks of the truth {WRONG[kind]}, so scores of masks say little"
        for kind, count in counts.items()
        if count and count >= NOTEWORTHY * len(with_mask)
    ]


def refuse_mistakes(records: Sequence[Record], looks: Sequence[MaskLook | None]) -> None:
    """Look at the masks of each split together.

    Raises:
        UserError: there are two or more, and all are full or empty, or most inverted or framed.
    """
    for split in dict.fromkeys(record.split for record in records):
        pairs = [
            (record.mask, look)
            for record, look in zip(records, looks, strict=True)
            if record.split == split and look is not None and record.mask is not None
        ]
        inverted = [mask for mask, look in pairs if look.inverted]
        full = [mask for mask, look in pairs if look.full]
        if len(pairs) < 2:
            continue
        if len(inverted) > len(pairs) / 2:
            raise UserError(
                f"{inverted[0]}: like {len(inverted)} of the {len(pairs)} masks of the {split} images, it has lesion "
                "all along the edge and skin inside: inverted. The brighter value is the lesion; invert these masks: "
                f"{_invert(inverted[0])}"
            )
        framed = [mask for mask, look in pairs if look.framed]
        if len(framed) > len(pairs) / 2:
            raise UserError(
                f"{framed[0]}: like {len(framed)} of the {len(pairs)} masks of the {split} images, it has a bright "
                f"frame along the edge, which would count as lesion. Fill it: {_unframe(framed[0])}"
            )
        if all(look.empty for _, look in pairs):
            raise UserError(
                f"{pairs[0][0]}: like all {len(pairs)} masks of the {split} images, it is empty, which teaches nothing "
                "and cannot be scored; give masks that outline the lesion, or none"
            )
        if len(full) + len(inverted) == len(pairs):
            raise UserError(
                f"{full[0]}: like {len(full)} of the {len(pairs)} masks of the {split} images, it calls the whole "
                "image lesion, which teaches nothing and makes any score 1; give masks that outline the lesion, or none"
            )


def _invert(mask: Path) -> str:
    # As `prepare` reads them: of a palette or transparency Pillow's grey levels say something else.
    program = (
        "import sys; from PIL import ImageChops; from mbdcnn.data.images.decoding import read_mask; "
        "[ImageChops.invert(read_mask(f).image.convert('L')).save(f) for f in sys.argv[1:]]"
    )
    return f"{command(program, str(mask))} ..."


def _unframe(mask: Path) -> str:
    program = (
        "import sys; from PIL import ImageDraw; from mbdcnn.data.images.decoding import read_mask; "
        "m = [(f, read_mask(f).image.convert('L')) for f in sys.argv[1:]]; "
        "[(ImageDraw.floodfill(i, (0, 0), 0), i.save(f)) for f, i in m]"
    )
    return f"{command(program, str(mask))} ..."
