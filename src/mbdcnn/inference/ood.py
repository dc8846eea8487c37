"""How far an image is from those the model was trained on: an out-of-distribution score.

Four distances, the largest of which counts, in units of limits that equally many usual images pass, 1 % any of them:

* `spread`: Mahalanobis distance of the classifier's pooled features within their main directions,
* `residual`: length of what of the features lies outside these directions,
* `statistics`: Mahalanobis distance of colour, contrast and fineness of structure of the image itself, from the nearest
  source of training images that has enough of them,
* `surprise`: mean of -log(share of the training images' pixels that have this colour).

The features alone pass single colours and images in wrong colours; the image's own numbers pass drawings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mbdcnn.errors import UserError

Floats = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]
"""Whole images, squashed to the networks' size: n s s 3."""

FILE = "familiarity.safetensors"
"""In a bundle that knows what is usual."""
ALONE = ("scale", "surprise", "limits")
"""Arrays beside the Gaussians."""
FEWEST_OF_SOURCE = 40
"""Images of a source that get a Gaussian of their own."""
LEAST_DEVIATION = 0.05
"""Of the statistics of a source, in units of all images': one that is grey throughout would not look at colour."""
DIRECTIONS = 64
QUANTILE = 0.99
"""Share of usual images that score below 1."""
COLOUR_BINS = 8
"""Bins of each colour channel."""
BLOCK_SIZE = 8
"""Pixels on each side of the blocks that structure is measured between."""
COLOUR_PRIOR = 1e-5
"""Share of a colour that was never met."""
ROUNDING = 0.02
"""Residual that means nothing, beside the deviation of the features."""
EPSILON = 0.5 / 255
"""Added before the logarithm: half a grey level."""


class ImageFeatures(NamedTuple):
    """What is measured of n images."""

    embedding: Floats
    """The classifier's pooled features, n c."""
    statistics: Floats
    """Of the image itself, n 15."""
    colours: Floats
    """Share of each colour, n shades ** 3."""

    @classmethod
    def at(cls, embedding: Floats, pixels: Pixels) -> Self:
        """Measure images, given what the classifier made of them."""
        blocks = _blocks(pixels)
        return cls(embedding, _statistics(pixels, blocks), _colours(blocks))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Put images one after the other."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Gaussian(NamedTuple):
    """Centre, main directions and the deviation along each."""

    mean: Floats
    directions: Floats
    """d c, of length 1."""
    deviations: Floats
    """d."""

    @classmethod
    def fit(cls, values: Floats, most: int, least_deviation: float = 0.0) -> Self:
        """Find at most so many directions, leaving out those in which values do not vary."""
        mean = values.mean(axis=0)
        variances, directions = np.linalg.eigh(np.cov(values.T.astype(np.float64), bias=True))
        variances += least_deviation**2
        kept = [index for index in np.argsort(-variances)[:most] if variances[index] > 1e-6 * variances.max()]
        return cls(mean, directions[:, kept].T, np.sqrt(variances[kept]))

    def distances(self, values: Floats) -> tuple[Floats, Floats]:
        """Give root mean square of the standardised coordinates, and length of the rest, each n."""
        centred = values - self.mean
        coordinates = centred @ self.directions.T
        spread = np.sqrt(((coordinates / self.deviations) ** 2).sum(axis=1) / max(1, len(self.deviations)))
        return spread, np.linalg.norm(centred - coordinates @ self.directions, axis=1)


class OODScorer(NamedTuple):
    """What the images that the model learnt from are like."""

    features: Gaussian
    statistics: tuple[Gaussian, ...]
    """One for each source that has enough images: together they are wide enough for grey images and pages of text."""
    scale: Floats
    """Standard deviation of each image statistic, by which it is divided first."""
    surprise: Floats
    """-log share of each colour, shades ** 3."""
    limits: Floats
    """Of the four distances."""

    @classmethod
    def fit(cls, training: ImageFeatures, held_out: ImageFeatures, sources: Sequence[str] = ()) -> Self:
        """Learn from training images; limits also rest on others, which must not have trained the networks.

        Args:
            training: images that the networks learnt from.
            held_out: others of the same kinds.
            sources: the source of each training image; one for all if not given.
        """
        scale = np.maximum(training.statistics.std(axis=0), 1e-6)
        unlimited = cls(
            features=Gaussian.fit(training.embedding, DIRECTIONS),
            statistics=_of_each_source(training.statistics / scale, np.array(sources)),
            scale=scale,
            surprise=-np.log(training.colours.mean(axis=0) + COLOUR_PRIOR),
            limits=np.ones(4),
        )
        usual = ImageFeatures.join([training, held_out])
        limits = unlimited._limits(usual, held_out)
        # Where held-out images raised a limit, fewer pass than should.
        return unlimited._replace(
            limits=limits * np.quantile(unlimited._replace(limits=limits).scores(usual), QUANTILE)
        )

    def _limits(self, usual: ImageFeatures, held_out: ImageFeatures) -> Floats:
        """Let each distance be passed by equally many usual images, all four together by 1 %.

        Features of held-out images, which the networks did not learn from, may lie further off: of these 1 % pass.
        """
        distances = self._distances(usual)
        further = (-distances).argsort(axis=1).argsort(axis=1) + 1
        share = np.quantile(further.min(axis=0), 1 - QUANTILE) / distances.shape[1]
        limits = np.quantile(distances, 1 - share, axis=1)
        limits[:2] = np.maximum(limits[:2], np.quantile(self._distances(held_out)[:2], QUANTILE, axis=1))
        # Few features may leave no residual but rounding, which half precision and other runtimes change.
        limits[1] = max(limits[1], ROUNDING * float(np.linalg.norm(self.features.deviations)))
        floored: Floats = np.maximum(limits, 1e-6)
        return floored

    def scores(self, looks: ImageFeatures) -> Floats:
        """Give the score of each image: up to 1 is in distribution."""
        largest: Floats = (self._distances(looks) / self.limits[:, None]).max(axis=0)
        return largest

    def _distances(self, looks: ImageFeatures) -> Floats:
        spread, residual = self.features.distances(looks.embedding)
        unusual = np.min([each.distances(looks.statistics / self.scale)[0] for each in self.statistics], axis=0)
        return np.stack([spread, residual, unusual, looks.colours @ self.surprise])

    def save(self, path: Path) -> None:
        """Write as safetensors; the features' directions, which are most of it, in half precision."""
        from safetensors.numpy import save

        arrays = {f"features.{name}": array for name, array in self.features._asdict().items()}
        for number, gaussian in enumerate(self.statistics):
            arrays |= {f"statistics.{number}.{name}": array for name, array in gaussian._asdict().items()}
        arrays |= {name: getattr(self, name) for name in ALONE}
        path.write_bytes(
            save(
                {
                    name: np.ascontiguousarray(array, np.float16 if name == "features.directions" else np.float32)
                    for name, array in arrays.items()
                }
            )
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UserError: it is damaged, or its arrays do not fit one another.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = {name: array.astype(np.float32) for name, array in load_file(path).items()}
            # Until there was one for each source it had no number.
            parts = sorted({name.rpartition(".")[0] for name in arrays if name.startswith("statistics.")})
            features, *statistics = (
                Gaussian(*(arrays[f"{part}.{name}"] for name in Gaussian._fields)) for part in ("features", *parts)
            )
            read = cls(features, tuple(statistics), *(arrays[name] for name in ALONE))
            nothing = ImageFeatures(np.zeros((1, len(features.mean))), np.zeros((1, 15)), np.zeros((1, COLOUR_BINS**3)))
            with np.errstate(all="ignore"):
                scores = read.scores(nothing)
            if len(read.limits) != 4 or not np.isfinite(scores).all():
                raise ValueError
        except (SafetensorError, OSError, LookupError, TypeError, ValueError):
            raise UserError(f"{path}: damaged; make its bundle again") from None
        return read


def _of_each_source(statistics: Floats, sources: npt.NDArray[Any]) -> tuple[Gaussian, ...]:
    """Fit a Gaussian to the images of each source that has enough, or one to all."""
    groups = [statistics[sources == source] for source in np.unique(sources)]
    enough = [group for group in groups if len(group) >= FEWEST_OF_SOURCE] or [statistics]
    return tuple(Gaussian.fit(group, group.shape[1], LEAST_DEVIATION) for group in enough)


def _statistics(pixels: Pixels, blocks: Floats) -> Floats:
    """Give 15 numbers of each image: colour, its variation, fineness of structure, centre against the whole."""
    colours = pixels.reshape(len(pixels), -1, 3).astype(np.float32) / 255
    grey = (colours @ np.full(3, 1 / 3, np.float32)).reshape(pixels.shape[:3])
    mean = np.full((1, colours.shape[1]), 1 / colours.shape[1], np.float32) @ colours
    colours -= mean
    # By matrix products, which take a tenth of the time of `std` along so short an axis.
    deviations = np.sqrt(np.maximum(_variances(colours.transpose(0, 2, 1) @ colours / colours.shape[1]), 0))
    rows, columns = blocks.shape[1] // 4, blocks.shape[2] // 4
    centre = blocks[:, rows : blocks.shape[1] - rows, columns : blocks.shape[2] - columns]
    numbers = [
        mean[:, 0],
        mean[:, 0, :2] - mean[:, 0, 1:],
        _log(deviations),
        _log(np.stack([_roughness(grey), _roughness(blocks.mean(axis=3))], axis=1)),
        centre.mean(axis=(1, 2)) - blocks.mean(axis=(1, 2)),
    ]
    return np.concatenate(numbers, axis=1)


def _variances(covariance: Floats) -> Floats:
    """Give the variances of red, green, blue, red - green and green - blue from n 3 3."""
    own = np.diagonal(covariance, axis1=1, axis2=2)
    between = np.stack([covariance[:, 0, 1], covariance[:, 1, 2]], axis=1)
    variances: Floats = np.concatenate([own, own[:, :2] + own[:, 1:] - 2 * between], axis=1)
    return variances


def _blocks(pixels: Pixels) -> Floats:
    """Average blocks of pixels, in [0, 1]."""
    count, height, width = pixels.shape[0], pixels.shape[1] // BLOCK_SIZE, pixels.shape[2] // BLOCK_SIZE
    cut = np.ascontiguousarray(pixels[:, : height * BLOCK_SIZE, : width * BLOCK_SIZE])
    # One axis after the other, down first: along rows of memory, which is ten times faster than both at once.
    rows = cut.reshape(count, height, BLOCK_SIZE, -1).sum(axis=2, dtype=np.uint16)
    sums = rows.reshape(count, height, width, BLOCK_SIZE, 3).sum(axis=3, dtype=np.uint16)
    means: Floats = sums.astype(np.float32) / (BLOCK_SIZE * BLOCK_SIZE * 255)
    return means


def _colours(blocks: Floats) -> Floats:
    """Give the share of blocks that have each colour."""
    shade = np.minimum((blocks * COLOUR_BINS).astype(np.int64), COLOUR_BINS - 1).reshape(len(blocks), -1, 3)
    numbers = (shade[..., 0] * COLOUR_BINS + shade[..., 1]) * COLOUR_BINS + shade[..., 2]
    counts = np.stack([np.bincount(each, minlength=COLOUR_BINS**3) for each in numbers])
    shares: Floats = (counts / numbers.shape[1]).astype(np.float32)
    return shares


def _roughness(grey: Floats) -> Floats:
    """Add up the mean steps between neighbours along both axes."""
    across, down = (np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
    steps: Floats = across + down
    return steps


def _log(values: Floats) -> Floats:
    logarithms: Floats = np.log(values + np.float32(EPSILON))
    return logarithms
