"""The score of a classifier that its weights are chosen by."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mbdcnn.metrics.estimators import auc


def mean_auc(probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> float | None:
    """Average the AUCs of the classes other than the first, the benign rest, each against all others.

    A class without cases, or of nothing else, is left out; None if no class is left.
    """
    once = np.ones((1, len(labels)))
    areas = [auc(once, score, labels == index).values[0] for index, score in enumerate(probabilities.T) if index > 0]
    defined = [float(area) for area in areas if not np.isnan(area)]
    return sum(defined) / len(defined) if defined else None
