"""MB-DCNN: outline a skin lesion and classify it, by three networks that teach each other.

For research and education. Not a medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mbdcnn._version import __version__

if TYPE_CHECKING:
    from mbdcnn.config import Config, load_config
    from mbdcnn.errors import UserError
    from mbdcnn.inference.prediction import Prediction
    from mbdcnn.inference.predictor import Predictor
    from mbdcnn.models import MBDCNN, CoarseSegmenter, EnhancedSegmenter, MaskGuidedClassifier

_HOMES = {
    "MBDCNN": "mbdcnn.models",
    "CoarseSegmenter": "mbdcnn.models",
    "Config": "mbdcnn.config",
    "EnhancedSegmenter": "mbdcnn.models",
    "MaskGuidedClassifier": "mbdcnn.models",
    "Prediction": "mbdcnn.inference.prediction",
    "Predictor": "mbdcnn.inference.predictor",
    "UserError": "mbdcnn.errors",
    "load_config": "mbdcnn.config",
}

__all__ = [
    "MBDCNN",
    "CoarseSegmenter",
    "Config",
    "EnhancedSegmenter",
    "MaskGuidedClassifier",
    "Prediction",
    "Predictor",
    "UserError",
    "__version__",
    "load_config",
]


def __dir__() -> list[str]:
    """List the public names alone, those too that were not used yet."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line need not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mbdcnn' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
