from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mbdcnn.inference.ood import COLOUR_BINS, FILE, Gaussian, ImageFeatures, OODScorer, _blocks, _colours

random = np.random.default_rng(0)
SIDE = 32


def spots(count: int, random: np.random.Generator) -> np.ndarray:
    """Dark spots on something like skin."""
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius, tone = random.uniform(0.15, 0.4, (count, 1, 1)), random.uniform(0.7, 1, (count, 1, 1, 1))
    lesion = (np.hypot(down, across) < radius)[..., None]
    colour = tone * np.where(lesion, [110, 70, 60], [220, 170, 150])
    return (colour + random.normal(0, 4, (count, SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


def features_of(pixels: np.ndarray, shift: float = 0.0, seed: int = 0) -> ImageFeatures:
    """Features that vary in a few of their directions."""
    random = np.random.default_rng(seed)
    embedding = random.normal(size=(len(pixels), 5)) @ np.eye(5, 40) * 3 + random.normal(0, 0.1, (len(pixels), 40))
    return ImageFeatures.at((embedding + shift).astype(np.float32), pixels)


@pytest.fixture(scope="module")
def scorer() -> OODScorer:
    training, held_out = (features_of(spots(count, random), seed=count) for count in (300, 100))
    return OODScorer.fit(training, held_out)


def test_one_in_a_hundred_usual_images_is_strange() -> None:
    training, held_out = (features_of(spots(count, np.random.default_rng(count)), seed=count) for count in (300, 200))
    scores = OODScorer.fit(training, held_out).scores(ImageFeatures.join([training, held_out]))
    assert np.mean(scores > 1) == pytest.approx(0.01, abs=0.003)
    assert np.quantile(scores, 0.99) == pytest.approx(1)


def test_features_that_held_out_images_reach_set_the_limit() -> None:
    """Those of the images the networks learnt from are closer than any new image's."""
    training, held_out = features_of(spots(300, random)), features_of(spots(100, random), seed=1)
    further = held_out._replace(embedding=held_out.embedding * 3)
    first, second = (OODScorer.fit(training, each).limits for each in (held_out, further))
    assert second[0] > 2 * first[0]


def test_what_lies_between_two_sources_is_of_neither() -> None:
    """Of one Gaussian for both, it would be the very centre."""
    training, held_out = (features_of(spots(count, np.random.default_rng(count)), seed=count) for count in (300, 100))
    dark = training.statistics[150:] - 40 * training.statistics.std(axis=0)
    training = training._replace(statistics=np.concatenate([training.statistics[:150], dark]))
    between = held_out._replace(statistics=held_out.statistics - 20 * held_out.statistics.std(axis=0))
    of_both = OODScorer.fit(training, held_out, ["skin"] * 150 + ["dark"] * 150)
    assert len(of_both.statistics) == 2
    assert of_both.scores(between).min() > 3 * OODScorer.fit(training, held_out).scores(between).max()
    assert np.mean(of_both.scores(held_out) > 1) <= 0.03


def test_a_source_that_does_not_vary_makes_nothing_familiar() -> None:
    training, held_out = (features_of(spots(count, np.random.default_rng(count)), seed=count) for count in (300, 100))
    alike = training.statistics.copy()
    alike[250:, 1:] = alike[250, 1:]
    scorer = OODScorer.fit(training._replace(statistics=alike), held_out, ["usual"] * 250 + ["alike"] * 50)
    strange = held_out._replace(statistics=held_out.statistics + 50 * training.statistics.std(axis=0))
    assert (scorer.scores(strange) > 1).all()
    assert all(len(gaussian.deviations) == 15 for gaussian in scorer.statistics)


def test_a_source_of_a_few_images_has_no_say_of_its_own() -> None:
    training, held_out = features_of(spots(300, random)), features_of(spots(100, random), seed=1)
    assert len(OODScorer.fit(training, held_out, ["skin"] * 261 + ["rare"] * 39).statistics) == 1
    assert len(OODScorer.fit(training, held_out, ["skin"] * 260 + ["rare"] * 40).statistics) == 2


def test_no_distance_alone_uses_up_what_all_four_may_pass() -> None:
    """One in which the networks' own images differ much would raise the limits of the others."""
    training, held_out = (features_of(spots(count, np.random.default_rng(count)), seed=count) for count in (1000, 200))
    odd = training.embedding.copy()
    odd[:8] *= 30
    calm, torn = (OODScorer.fit(each, held_out).limits for each in (training, training._replace(embedding=odd)))
    assert torn[2:] == pytest.approx(calm[2:], rel=0.1)


def test_files_from_before_there_were_sources_are_read(scorer: OODScorer, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    scorer.save(tmp_path / FILE)
    arrays = {name.replace("statistics.0.", "statistics."): array for name, array in load_file(tmp_path / FILE).items()}
    save_file(arrays, tmp_path / "old.safetensors")
    images = features_of(spots(20, random), seed=3)
    assert OODScorer.load(tmp_path / "old.safetensors").scores(images) == pytest.approx(scorer.scores(images), rel=1e-2)


@pytest.mark.parametrize(
    "image",
    [
        random.integers(0, 256, (SIDE, SIDE, 3)),
        np.full((SIDE, SIDE, 3), 255),
        np.zeros((SIDE, SIDE, 3)),
        255 - spots(1, random)[0],
        np.repeat(spots(1, random)[0].mean(axis=2, keepdims=True), 3, axis=2),
        np.indices((SIDE, SIDE)).sum(axis=0)[..., None] // 4 % 2 * [200, 60, 20],
    ],
    ids=["noise", "white", "black", "negative", "grey", "stripes"],
)
def test_strange_images_with_usual_features_are_noticed(scorer: OODScorer, image: np.ndarray) -> None:
    assert scorer.scores(features_of(image[None].astype(np.uint8)))[0] > 1


def test_strange_features_of_usual_images_are_noticed(scorer: OODScorer) -> None:
    assert scorer.scores(features_of(spots(1, random)))[0] < 1
    assert scorer.scores(features_of(spots(1, random), shift=2))[0] > 1


def test_distances_are_those_of_the_covariance() -> None:
    values = random.normal(size=(500, 6)) @ random.normal(size=(6, 6))
    spread, rest = Gaussian.fit(values, 6).distances(values)
    centred = values - values.mean(axis=0)
    squared = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(values.T, bias=True)), centred)
    assert spread == pytest.approx(np.sqrt(squared / 6))
    assert rest == pytest.approx(0, abs=1e-6)
    _, rest = Gaussian.fit(values, 2).distances(values)
    kept = Gaussian.fit(values, 2).directions
    assert rest == pytest.approx(np.linalg.norm(centred - centred @ kept.T @ kept, axis=1))


def test_directions_without_variation_are_left_out() -> None:
    values = np.zeros((20, 3))
    values[:, 1] = random.normal(size=20)
    gaussian = Gaussian.fit(values, 3)
    assert len(gaussian.deviations) == 1
    assert np.isfinite(gaussian.distances(values + 1)[0]).all()


def test_statistics_and_colours_equal_a_plain_loop() -> None:
    pixels = spots(3, random)
    for image, statistics, share in zip(pixels, *features_of(pixels)[1:], strict=True):
        colours = image.reshape(-1, 3) / 255
        contrast = colours[:, :2] - colours[:, 1:]
        assert statistics[:3] == pytest.approx(colours.mean(axis=0), abs=1e-5)
        assert statistics[3:5] == pytest.approx(contrast.mean(axis=0), abs=1e-5)
        deviations = [*colours.std(axis=0), *contrast.std(axis=0)]
        assert np.exp(statistics[5:10]) - 0.5 / 255 == pytest.approx(deviations, rel=1e-3)
        expected = np.zeros(COLOUR_BINS**3)
        for row in range(0, SIDE, 8):
            for column in range(0, SIDE, 8):
                red, green, blue = image[row : row + 8, column : column + 8].mean(axis=(0, 1)) / 255 * COLOUR_BINS
                expected[(int(red) * COLOUR_BINS + int(green)) * COLOUR_BINS + int(blue)] += 1 / 16
        assert share == pytest.approx(expected, abs=1e-6)


def test_white_is_a_colour() -> None:
    assert _colours(_blocks(np.full((1, 16, 16, 3), 255, np.uint8)))[0, -1] == 1


def test_a_file_gives_the_same_scores_and_is_small(scorer: OODScorer, tmp_path: Path) -> None:
    file = tmp_path / FILE
    scorer.save(file)
    images = features_of(spots(20, random), seed=3)
    assert OODScorer.load(file).scores(images) == pytest.approx(scorer.scores(images), rel=1e-2)
    assert file.stat().st_size < 20_000


def test_images_are_measured_alike_alone_and_together(scorer: OODScorer) -> None:
    pixels = spots(4, random)
    together = features_of(pixels)
    alone = [ImageFeatures.at(together.embedding[index : index + 1], pixels[index : index + 1]) for index in range(4)]
    assert scorer.scores(ImageFeatures.join(alone)) == pytest.approx(scorer.scores(together))
    assert np.concatenate([scorer.scores(each) for each in alone]) == pytest.approx(scorer.scores(together))
