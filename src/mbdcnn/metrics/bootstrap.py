"""Percentile bootstrap: the uncertainty of a score from the choice of images.

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
Values: TypeAlias = Float[np.ndarray, " s"]
"""One value a resample; NaN where the resample lacks what the statistic needs."""

BLOCK = 4_000_000
"""Counts held at a time: 32 MB, however many images and resamples there are."""


@dataclass(frozen=True)
class Statistic:
    """One statistic of each resample."""

    values: Values
    inflated: bool = False
    """Larger in a resample than among the images, on average; the interval is moved down by as much."""

    def __sub__(self, other: Statistic) -> Statistic:
        """Subtract another; what inflates both cancels out."""
        return Statistic(self.values - other.values)


Statistics: TypeAlias = Mapping[tuple[str, ...], Statistic]
"""Statistics by name; a name of several words is a place in a nested summary."""


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
    """Images as they are, then resampled with replacement many times."""

    images: int
    samples: int = 1000
    seed: int = 0
    groups: Sequence[Hashable] | None = None
    """What each image belongs to, such as its patient; whole groups are drawn then."""

    def estimates(self, statistics: Callable[[Counts], Statistics]) -> dict[tuple[str, ...], Estimate | None]:
        """Give each statistic of the images with its interval; None where it is undefined."""
        parts = [statistics(counts) for counts in self._blocks()]
        return {
            name: estimate(Statistic(np.concatenate([part[name].values for part in parts]), first.inflated))
            for name, first in parts[0].items()
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
    own, *_ = values = statistic.values
    if not np.isfinite(own):
        return None
    resampled = _centred(values[1:], own) if statistic.inflated else values[1:]
    low, high = percentile_interval(resampled) or (None, None)
    return Estimate(value=float(own), low=low, high=high)


def percentile_interval(values: Values, level: float = 0.95) -> Interval | None:
    """Bound the middle of the resamples' values, leaving out NaN; None if nothing is left."""
    valid = values[np.isfinite(values)]
    if not valid.size:
        return None
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _centred(values: Values, own: float) -> Values:
    """Move resamples so that their mean is the images' own value; none below 0."""
    bias = np.nanmean(values) - own if np.isfinite(values).any() else 0.0
    return np.maximum(values - bias, 0)
