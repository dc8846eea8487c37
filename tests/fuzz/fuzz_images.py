"""Coverage-guided fuzzing of what decodes images: Pillow's readers, pydicom and the code round them.

Needs `pip install atheris` (not among this project's own dependencies: it has no wheels for macOS and Windows):

    python tests/fuzz/fuzz_images.py CORPUS -max_total_time=600 -rss_limit_mb=3000 -timeout=20

CORPUS is a folder, made and filled with one small file of each kind if it is not there; what reaches new code is
added to it. An error other than a UserError of one line ends the run and leaves the file that caused it as
`crash-...`, `timeout-...` or `oom-...`; `python tests/fuzz/fuzz_images.py FILE` runs it again.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "src"), str(HERE.parent)]

with atheris.instrument_imports(include=["mbdcnn", "PIL", "pydicom"]):
    from masks import decode_mask
    from mbdcnn.data.images.decoding import decode, decode_at_least, image_size
    from mbdcnn.data.images.dicom import read_header
    from mbdcnn.errors import UserError

READERS: tuple[Callable[[bytes], object], ...] = (
    decode,
    decode_mask,
    image_size,
    lambda content: decode_at_least(content, 16),
    lambda content: read_header(content, "the image"),
)


def read(content: bytes) -> None:
    """Send bytes through each reader."""
    for reader in READERS:
        try:
            reader(content)
        except UserError as error:
            if not str(error).isprintable():
                raise RuntimeError(f"more than one line: {error!a}") from None


def fill(corpus: Path) -> None:
    """Write a file of each kind."""
    from bad_images import small_bombs, whole_images

    corpus.mkdir(parents=True)
    for number, content in enumerate([*whole_images().values(), *small_bombs().values()]):
        if len(content) < 50_000:
            (corpus / f"{number:03}").write_bytes(content)


def main() -> None:
    """Fuzz, as the arguments say."""
    warnings.simplefilter("ignore")
    named = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    if named and not named[0].exists():
        fill(named[0])
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
