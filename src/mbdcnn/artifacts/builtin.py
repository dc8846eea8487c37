"""The model that comes with the package, and its name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from mbdcnn.artifacts import Bundle
from mbdcnn.config import BUNDLED, bundled_folder
from mbdcnn.errors import UserError


def bundled_model() -> Path:
    """Give the folder of the model that comes with the package.

    Raises:
        UserError: none comes with this installation.
    """
    folder = Path(str(resources.files("mbdcnn") / BUNDLED))
    if not (folder / Bundle.filename).is_file():
        raise UserError("no model comes with this installation of mbdcnn; name a bundle, such as out/bundle")
    return folder


def find_bundle(model: str | Path | None) -> Path:
    """Give the folder of a model: the one named, and for `bundled` or None that of the one that comes with the package.

    Raises:
        UserError: none comes with this installation, or `bundled` names a model here too.
    """
    if model is None or str(model) != BUNDLED:
        return bundled_model() if model is None else Path(model)
    bundled_folder()
    return bundled_model()


def open_model(model: str | Path | None) -> Bundle:
    """Open a model by its folder or as `bundled`, comparing every checksum.

    Raises:
        UserError: as for `find_bundle`, or it is not a whole bundle.
    """
    return Bundle.open(find_bundle(model), verify=True)
