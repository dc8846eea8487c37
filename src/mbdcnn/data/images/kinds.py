"""What files are by their first bytes, where Pillow does not say."""

from __future__ import annotations

import shlex

from mbdcnn.errors import UserError

HEAD = 132
"""First bytes that tell."""

NAMELESS = "the image"
"""What messages call a file that came as bytes."""

_HEIF_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)


class UnusableError(Exception):
    """A file cannot be used for what it is wanted for: why, to be said after its name.

    Args:
        reason: what is wrong and what to do.
        program: of Python, that does it to the file in `sys.argv[1]`.
    """

    def __init__(self, reason: str, program: str = "") -> None:
        super().__init__(reason)
        self.program = program

    def of(self, name: str) -> UserError:
        """Give the line for a user, with the command that does what is to be done."""
        remedy = f" {command(self.program, name)}" if self.program else ""
        return UserError(f"{name}: {self}{remedy}")


def is_dicom(head: bytes) -> bool:
    """Tell a DICOM file, also one without preamble, which starts with an element of group 2 or 8."""
    if head[128:132] == b"DICM":
        return True
    little = head[:2] in {b"\2\0", b"\x08\0"} and head[3:4] == b"\0"
    big = head[:2] in {b"\0\2", b"\0\x08"} and head[2:3] == b"\0"
    # Then two letters that name its type, or its length, which is short.
    return (little or big) and (head[4:6].isalpha() or head[4:6] == b"\0\0" or head[6:8] == b"\0\0")


def command(program: str, name: str) -> str:
    """Write a call of Python on one file, to be pasted into a shell; what came without a name is FILE."""
    return f"python -c {shlex.quote(program)} {'FILE' if name == NAMELESS else shlex.quote(name)}"


def another_kind(head: bytes, name: str) -> str | None:
    """Say what is to be done with a photograph of a kind that is not read; None if it is none."""
    kind = _HEIF_BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if kind is None:
        return None
    # PNG, because it keeps the colour profile, which Pillow leaves out of a JPEG.
    program = "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[1] + '.png')"
    if kind == "AVIF":
        return f"an AVIF image, which is not read; convert it: {command(program, name)}"
    program = f"import pillow_heif; pillow_heif.register_heif_opener(); {program}"
    return f"a HEIC image, which is not read; convert it: pip install pillow-heif; {command(program, name)}"
