"""The model that comes with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from mbdcnn.artifacts import Bundle
from mbdcnn.errors import UserError


def bundled_model() -> Path:
    """Give the folder of the model that comes with the package.

    Raises:
        UserError: none comes with this installation.
    """
    folder = Path(str(resources.files("mbdcnn") / "bundled"))
    if not (folder / Bundle.filename).is_file():
        raise UserError("no model comes with this installation of mbdcnn; name a bundle, such as out/bundle")
    return folder
