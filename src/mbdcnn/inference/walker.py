"""Grady's random walker with a prior (CVPR 2005).

The probabilities x of pixels minimise

    sum over neighbours of w_ij (x_i - x_j)^2 + sum over pixels of PRIOR (x_i - q_i)^2,

where w_ij falls with the difference of two pixels' colours, and q_i is the prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PRIOR = 0.05
"""Weight of a pixel's own probability beside that of a neighbour of the same colour, 1."""
TOLERANCE = 1e-2
"""Of the walker's equations, relative."""


@dataclass(frozen=True)
class Neighbours:
    """Pairs of pixels beside each other, weighted by how alike their colours are."""

    weights: Any
    """Sparse, n n for n pixels."""

    @classmethod
    def of(cls, colours: Floats) -> Neighbours:
        """Compare the colours of an image, g g 3."""
        from scipy.sparse import csr_array

        places = np.arange(colours.shape[0] * colours.shape[1]).reshape(colours.shape[:2])
        first = np.concatenate([places[:, :-1].ravel(), places[:-1].ravel()])
        second = np.concatenate([places[:, 1:].ravel(), places[1:].ravel()])
        flat = colours.reshape(-1, colours.shape[-1])
        apart = np.square(flat[first] - flat[second]).sum(axis=1)
        weights = np.exp(-apart / (2 * apart.mean() + 1e-9)) + 1e-3
        pairs = np.concatenate([first, second]), np.concatenate([second, first])
        return cls(csr_array((np.concatenate([weights, weights]), pairs), shape=(places.size, places.size)))

    def walk(self, prior: Floats, seeds: Floats) -> Floats:
        """Find the probabilities, g g.

        Args:
            prior: q, g g.
            seeds: 0 or 1 where it is known, NaN elsewhere.
        """
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import cg

        known = np.nan_to_num(seeds).ravel()
        free = np.isnan(seeds).ravel()
        # Seeds have rows and columns of a unit matrix, and what they give their neighbours goes to the right.
        only_free = diags_array(free.astype(np.float64))
        inner = only_free @ self.weights @ only_free
        diagonal = np.where(free, self.weights.sum(axis=1) + PRIOR, 1)
        right = np.where(free, PRIOR * prior.ravel() + self.weights @ known, known)
        first = np.where(free, prior.ravel(), known)
        system, inverse = diags_array(diagonal) - inner, diags_array(1 / diagonal)
        solution, _ = cg(system, right, x0=first, rtol=TOLERANCE, maxiter=300, M=inverse)
        walked: Floats = solution.reshape(prior.shape)
        return walked
