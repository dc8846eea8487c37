"""Class probabilities out of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def averaged_softmax(view_logits: Floats, temperature: float) -> Floats:
    """Give class probabilities, n k, of logits n v k."""
    averaged: Floats = softmax(view_logits, temperature).mean(axis=1)
    return averaged


def softmax(logits: npt.NDArray[Any], temperature: float = 1.0) -> Floats:
    """Turn logits into probabilities along the last axis.

    In float64 whatever the logits are: a threshold is one image's probability to the last digit.
    """
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
