"""What an artefact says of itself: what it is, and what it was made from and with."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mbdcnn._version import __version__
from mbdcnn.errors import UserError
from mbdcnn.system.extras import installed_version


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON-able value, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class Provenance(BaseModel):
    """The JSON file of an artefact."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    version: int
    identity: str
    """Fingerprint of version, settings and inputs: equal means made alike."""
    fingerprint: str
    """Fingerprint of identity and content: equal means the same."""
    settings: dict[str, Any]
    inputs: dict[str, str]
    facts: dict[str, Any]
    files: dict[str, str]
    """SHA-256 of every file directly in the folder."""
    tools: dict[str, str]
    created: str

    def as_json(self) -> str:
        """Give the text of the file."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"


def json_object(file: Path) -> dict[str, Any]:
    """Read a file of an artefact that holds a JSON object.

    Raises:
        UserError: it does not.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file}: missing or damaged; make its folder again")
    return content


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tools() -> dict[str, str]:
    """Versions of what an artefact is made with."""
    names = ("torch", "lightning", "numpy", "pillow")
    installed = {name: version for name in names if (version := installed_version(name))}
    return {"mbdcnn": __version__, "python": platform.python_version(), **installed}
