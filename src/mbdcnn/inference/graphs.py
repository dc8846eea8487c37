"""The networks of a bundle as ONNX graphs in the user's cache, exported once. Imports torch only to export."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from mbdcnn.artifacts import Bundle
from mbdcnn.errors import UserError
from mbdcnn.provenance import fingerprint

GRAPHS = ("coarse", "guide", "enhanced")
"""coarse-SN; mask-CN with activation map and pooled features; enhanced-SN."""
CONTENT = ("coarse.safetensors", "classifier.safetensors", "enhanced.safetensors", "config.yaml")
"""Files of a bundle that decide what its graphs compute."""
VERSION = 1
"""Raised whenever code changes what an exported graph computes."""


def cached_graphs(bundle: Bundle) -> Path:
    """Give the folder with `coarse.onnx`, `guide.onnx` and `enhanced.onnx` of a bundle, written if it is not there.

    It is named by the checksums of the weights and the configuration, so another model never meets it.

    Raises:
        UserError: the cache folder cannot be written.
    """
    digests = [bundle.provenance.files.get(name) for name in CONTENT]
    folder = cache_folder() / "graphs" / fingerprint([VERSION, digests])[:32]
    if folder.is_dir():
        return folder
    from mbdcnn.inference.export import write_graphs

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    except OSError as error:
        raise UserError(
            f"{folder.parent}: {error.strerror}; set MBDCNN_CACHE to a folder that can be written"
        ) from None
    try:
        write_graphs(bundle, draft)
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


def cache_folder() -> Path:
    """Give MBDCNN_CACHE, or the place the system keeps for caches."""
    if own := os.environ.get("MBDCNN_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = str(Path.home() / "Library" / "Caches")
    else:
        place = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(place) / "mbdcnn"
