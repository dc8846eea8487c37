"""Percentile bootstrap: how far a score would move had other images been drawn.

A resample is a row of counts, how often each image was drawn, so every statistic of many resamples is a few
matrix operations. A row of ones gives the statistic of the images as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np
from jaxtyping import Float

Counts: TypeAlias = Float[np.ndarray, "s n"]
"""How often each of n images stands in each of s resamples."""
Statistic: TypeAlias = Float[np.ndarray, " s"]
"""One value a resample; NaN where the resample lacks what the statistic needs."""
Statistics: TypeAlias = Mapping[tuple[str, ...], Statistic]
"""Statistics by name; a name of several words is a place in a nested summary."""

INFLATED = "calibration_error"
"""A statistic that every redrawing makes larger on average, being a sum of absolute errors."""
DIFFERENCE = "difference"
"""Part of the name of what is the difference of two statistics."""
BLOCK = 4_000_000
"""Counts held at a time: 32 MB, however many images and resamples there are."""


class Interval(NamedTuple):
    """Where the middle 95 % of the resamples lie."""

    low: float
    high: float


class Estimate(TypedDict):
    """A score and its 95 % interval; low and high are None without resamples."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Resamples:
    """Images as they are, then redrawn with replacement many times."""

    images: int
    samples: int = 1000
    seed: int = 0
    groups: Sequence[Hashable] | None = None
    """What each image belongs to, such as its patient; whole groups are drawn then."""

    def estimates(self, statistics: Callable[[Counts], Statistics]) -> dict[tuple[str, ...], Estimate | None]:
        """Give each statistic of the images with its interval; None where it is undefined."""
        parts = [statistics(counts) for counts in self._blocks()]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {
            name: estimate(_centred(values) if name[-1] == INFLATED and DIFFERENCE not in name else values)
            for name, values in joined.items()
        }

    def _blocks(self) -> Iterator[Counts]:
        yield np.ones((1, self.images))
        generator = np.random.default_rng(self.seed)
        rows = max(1, BLOCK // max(1, self.images))
        for start in range(0, self.samples, rows):
            yield resample_counts(self.images, min(rows, self.samples - start), generator, self.groups)


def resample_counts(
    images: int, samples: int, seed: int | np.random.Generator, groups: Sequence[Hashable] | None = None
) -> Counts:
    """Draw resamples of images with replacement; whole groups where groups are given."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups or range(images)))}
    membership = np.array([numbers[group] for group in groups or range(images)])
    chances = np.full(len(numbers), 1 / len(numbers))
    draws = np.random.default_rng(seed).multinomial(len(numbers), chances, size=samples)
    return draws[:, membership].astype(np.float64)


def estimate(statistic: Statistic) -> Estimate | None:
    """Take the images' own value, which stands first, and the interval of the resamples after it."""
    if not np.isfinite(statistic[0]):
        return None
    low, high = percentile_interval(statistic[1:]) or (None, None)
    return Estimate(value=float(statistic[0]), low=low, high=high)


def percentile_interval(values: Statistic, level: float = 0.95) -> Interval | None:
    """Bound the middle of the resamples' values, leaving out NaN; None if nothing is left."""
    valid = values[np.isfinite(values)]
    if not valid.size:
        return None
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _centred(statistic: Statistic) -> Statistic:
    """Move resamples so that their mean is the images' own value, which stands first; none below 0."""
    bias = np.nanmean(statistic[1:]) - statistic[0] if np.isfinite(statistic[1:]).any() else 0.0
    return np.concatenate([statistic[:1], np.maximum(statistic[1:] - bias, 0)])
