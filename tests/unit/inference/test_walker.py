"""The random walker."""

from __future__ import annotations

import numpy as np

from mbdcnn.inference.walker import PRIOR, Neighbours


def test_the_walker_solves_its_equations() -> None:
    random = np.random.default_rng(0)
    colours, prior = random.random((6, 6, 3)), random.random((6, 6))
    seeds = np.full((6, 6), np.nan)
    seeds[0, 0], seeds[5, 5] = 0, 1
    neighbours = Neighbours.of(colours)
    weights = neighbours.weights.toarray()
    assert np.array_equal(weights, weights.T)
    assert np.count_nonzero(weights) == 2 * (6 * 5 * 2)
    # Of the sum that is to be least the derivative by each free pixel is 0.
    walked = neighbours.walk(prior, seeds)
    flat = walked.ravel()
    pull = (weights * (flat[:, None] - flat)).sum(axis=1) + PRIOR * (flat - prior.ravel())
    assert np.abs(pull[np.isnan(seeds).ravel()]).max() < 2e-2
    assert (walked[0, 0], walked[5, 5]) == (0, 1)
