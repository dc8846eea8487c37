"""The networks of a bundle as ONNX graphs in the user's cache, exported once. Imports torch only to export."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.provenance import file_digest, fingerprint
from mbdcnn.errors import UserError
from mbdcnn.system.cache import cache_folder
from mbdcnn.system.files import disk_errors_as_user_errors

logger = logging.getLogger("mbdcnn")
GRAPHS = ("coarse", "guide", "enhanced")
"""coarse-SN; mask-CN with activation map and pooled features; enhanced-SN."""
CONTENT = ("coarse.safetensors", "classifier.safetensors", "enhanced.safetensors", "config.yaml")
"""Files of a bundle that decide what its graphs compute."""
CHECKSUMS = "checksums.json"
"""SHA-256 of each graph."""
VERSION = 2
"""Raised whenever code changes what an exported graph computes."""


def cached_graphs(bundle: Bundle) -> Path:
    """Give the folder with `coarse.onnx`, `guide.onnx` and `enhanced.onnx` of a bundle.

    It is written if it is not there or a graph in it was changed. It is named by the checksums of the weights and the
    configuration, so another model never meets it.

    Raises:
        UserError: the cache folder cannot be written, the disk is full, or a graph does not give what torch gives.
    """
    folder = cache_folder() / "graphs" / content_key(bundle)
    if _is_whole(folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    from mbdcnn.inference.tracing import write_graphs

    logger.warning("first use of this model without torch here: exporting its graphs, once")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    except OSError as error:
        raise UserError(
            f"{folder.parent}: {error.strerror}; set MBDCNN_CACHE to a folder that can be written"
        ) from None
    try:
        with disk_errors_as_user_errors(folder.parent):
            write_graphs(bundle, draft)
            checksums = {file.name: file_digest(file) for file in draft.iterdir()}
            (draft / CHECKSUMS).write_text(json.dumps(checksums))
        # A temporary folder is its maker's alone; a cache may be shared.
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:
        # Another process was first.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def content_key(bundle: Bundle) -> str:
    """Name what the graphs of a bundle compute."""
    return fingerprint([VERSION, [bundle.provenance.files.get(name) for name in CONTENT]])[:32]


def _is_whole(folder: Path) -> bool:
    try:
        digests: object = json.loads((folder / CHECKSUMS).read_text())
        return {file.name: file_digest(file) for file in folder.glob("*.onnx*")} == digests
    except (OSError, ValueError, RecursionError):
        return False
