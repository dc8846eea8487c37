"""How a model is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mbdcnn.inference.names import ProtocolName, RuntimeName


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a model is evaluated."""

    protocol: ProtocolName = "fast"
    """`fast` for one view of each network, as `predict` does, `paper` for the authors' protocol."""
    device: str = "auto"
    """Where the networks run."""
    runtime: RuntimeName = "torch"
    """What runs them."""
    compare_with: Path | None = None
    """Another bundle, or results in files, to score on the same images."""
    stress: bool = False
    """Also score corrupted images."""
    allow_training_images: bool = False
    """Score even images that the model was trained on."""
    bootstrap_samples: int | None = None
    """Resamples behind each interval; as in the model's configuration if None."""
    overwrite: bool = True
    """Replace a report of something else."""


DEFAULT = Options()
