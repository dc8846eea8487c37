"""The three networks of a bundle with their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mbdcnn.artifacts import Bundle
from mbdcnn.config import Config

if TYPE_CHECKING:
    from mbdcnn.models import MBDCNN


STAGES = ("coarse", "classifier", "enhanced")


def load_model(bundle: Bundle) -> MBDCNN:
    """Build the three networks of a bundle with their weights."""
    return load_networks(bundle.config, bundle.path)


def load_networks(config: Config, folder: Path) -> MBDCNN:
    """Build the three networks of a configuration with the weights in a folder."""
    import torch

    from mbdcnn.models import MBDCNN
    from mbdcnn.models.weights import load_weights

    def filled(model: MBDCNN) -> MBDCNN:
        for stage in STAGES:
            load_weights(folder / f"{stage}.safetensors", getattr(model, stage))
        return model.eval()

    # Without memory, and without first numbers that the file's then replace, unless a registered backbone computes
    # with its tensors while it is built or holds some that are in no file.
    try:
        with torch.device("meta"):
            model = MBDCNN(config)
    except RuntimeError:
        return filled(MBDCNN(config))
    model = filled(model)
    return filled(MBDCNN(config)) if any(buffer.is_meta for buffer in model.buffers()) else model
