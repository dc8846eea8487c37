"""Where is kept what was worked out once."""

from __future__ import annotations

import os
import sys
from pathlib import Path


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
