"""What is installed, and what a folder or a configuration is. Imports neither torch nor Lightning."""

from __future__ import annotations

import platform
import shlex
from importlib import metadata
from typing import Any

from mbdcnn._version import __version__
from mbdcnn.artifacts import Artifact, Bundle, Export, MaskSet, PreparedData, Report, Run
from mbdcnn.artifacts.builtin import find_bundle
from mbdcnn.config import BUNDLED, load_config, shipped_configs
from mbdcnn.errors import UserError

KINDS: tuple[type[Artifact], ...] = (PreparedData, Run, MaskSet, Bundle, Report, Export)
LIBRARIES = ("torch", "lightning", "numpy", "pillow", "onnxruntime", "openvino")


def describe(path: str | None = None) -> dict[str, Any]:
    """Describe this installation, or what lies at a path.

    Args:
        path: a folder made by mbdcnn, `bundled` for the model that comes with it, or the name or file of a
            configuration; None for the installation.

    Raises:
        UserError: it is neither.
    """
    if path is None:
        return _installation()
    folder = find_bundle(path)
    kind = next((kind for kind in KINDS if (folder / kind.filename).is_file()), None)
    if kind is not None:
        found = kind.open(folder)
        licence = {"licence": found.licence} if isinstance(found, Bundle) and found.licence else {}
        return {"path": path, **licence, **found.provenance.model_dump(exclude={"files", "version", "identity"})}
    if folder.is_dir() and path not in shipped_configs():
        known = ", ".join(kind.filename for kind in KINDS)
        raise UserError(f"{path}: not a folder made by mbdcnn (none of {known} is in it)")
    if folder.is_file() and folder.suffix not in {".yaml", ".yml"}:
        command = shlex.join(["mbdcnn", "predict", path])
        raise UserError(f"{path}: no folder made by mbdcnn and no configuration; for an image: {command}")
    return load_config(path).model_dump(mode="json")


def _installation() -> dict[str, Any]:
    libraries = {name: _version(name) for name in LIBRARIES}
    return {
        "mbdcnn": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "libraries": {name: version for name, version in libraries.items() if version},
        "configs": shipped_configs(),
        "models": [BUNDLED],
        "use": "research and education; not a medical device",
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
