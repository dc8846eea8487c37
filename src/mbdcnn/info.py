"""What is installed, and what a folder or a configuration is. Imports torch only to measure a machine, once."""

from __future__ import annotations

import platform
import shlex
from typing import Any

from mbdcnn._version import __version__
from mbdcnn.artifacts import Artifact, Bundle, Export, MaskSet, PreparedData, Report, Run
from mbdcnn.artifacts.builtin import find_bundle
from mbdcnn.config import BUNDLED, load_config, shipped_configs
from mbdcnn.errors import UserError
from mbdcnn.system.extras import installed_version
from mbdcnn.system.rates import FAST, matrix_rates

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
    return {
        "mbdcnn": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "libraries": {name: version for name in LIBRARIES if (version := installed_version(name))},
        "matrix products": _rates(),
        "configs": shipped_configs(),
        "models": [BUNDLED],
        "use": "research and education; not a medical device",
    }


def _rates() -> dict[str, str]:
    rates = matrix_rates()
    chosen = "bf16, at least" if rates.bf16_pays else "fp32, as bf16 is not"
    return {
        "fp32": f"{rates.fp32 / 1e9:.0f} GFLOP/s on a core",
        "bf16": f"{rates.bf16 / 1e9:.0f} GFLOP/s on a core",
        "precision auto on this CPU": f"{chosen} {FAST:g} times as fast",
        "runtime auto on this CPU": "openvino-bf16, where installed" if rates.matrix_units else "onnx, where installed",
    }
