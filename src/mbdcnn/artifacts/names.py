"""Names of classes, however they are written."""

from __future__ import annotations

import re


def plain_name(name: str) -> str:
    """Write a class's name so that case, spaces, hyphens and underscores do not matter."""
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()
