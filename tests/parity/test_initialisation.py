"""How the networks start without weights, against the spreads measured on the authors' networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbdcnn.config import Config, SegmentationNetwork, load_config
from mbdcnn.models import CoarseSegmenter, EnhancedSegmenter, build_coarse, build_enhanced

PAPER = Config().enhanced.network
# Layer, spread of their weights, spread of PyTorch's own start: 1 / sqrt(3 x inputs x kernel area).
LAYERS = [
    ("decoder.head", 1.0, 0.036),
    ("pyramid.branches.0.0", 0.088, 0.013),
    ("pyramid.branches.1.0", 0.029, 0.0043),
    ("pyramid.pooling.0", 0.088, 0.013),
    ("pyramid.projection.0", 0.088, 0.016),
    ("guidance.0", 0.088, 0.036),
    ("decoder.low_level.0", 0.204, 0.036),
    ("decoder.refine.0.0", 0.029, 0.011),
    # The backbone's: depthwise counts all channels, not the one that a filter reads.
    ("encoder.stem.0.0", 0.083, 0.111),
    ("encoder.middle.3.conv1.depthwise", 0.0175, 0.192),
    ("encoder.middle.3.conv1.pointwise", 0.052, 0.021),
]


def drawn(network: SegmentationNetwork) -> dict[str, Tensor]:
    torch.manual_seed(0)
    # The rest of the middle flow takes long to draw.
    return EnhancedSegmenter(network.model_copy(update={"depth": 4})).state_dict()


@pytest.fixture(scope="module")
def starts() -> dict[str, dict[str, Tensor]]:
    settings = {name: PAPER.model_copy(update={"initialisation": name}) for name in ("authors", "torch")}
    return {name: drawn(network) for name, network in settings.items()}


@pytest.mark.parametrize(("layer", "theirs", "torchs"), LAYERS)
def test_spread_of_the_weights(starts, layer: str, theirs: float, torchs: float) -> None:
    for name, expected in (("authors", theirs), ("torch", torchs)):
        weight = starts[name][f"{layer}.weight"]
        # A draw of n numbers has a spread within 3 / sqrt(2 n), beside the table's rounding.
        chance = 0.03 + 3 / (2 * weight.numel()) ** 0.5
        assert weight.std().item() == pytest.approx(expected, rel=chance)
        assert weight.mean().item() == pytest.approx(0, abs=4 * expected / weight.numel() ** 0.5)


def test_biases_and_batch_norm_start_as_in_pytorch(starts) -> None:
    for start in starts.values():
        assert start["decoder.head.bias"].abs().max() <= 1 / 16
        assert start["guidance.1.weight"].eq(1).all()
        assert start["guidance.1.bias"].eq(0).all()


def test_the_same_seed_draws_the_same_weights(starts) -> None:
    again = drawn(PAPER)
    assert all(torch.equal(values, again[name]) for name, values in starts["authors"].items())


def test_the_papers_settings_start_as_the_authors_and_the_compact_ones_as_pytorch() -> None:
    assert PAPER.initialisation == load_config("paper").coarse.network.initialisation == "authors"
    for name in ("compact", "demo", "finetune"):
        config = load_config(name)
        assert config.coarse.network.initialisation == config.enhanced.network.initialisation == "torch"
        torch.manual_seed(0)
        coarse, enhanced = build_coarse(config), build_enhanced(config)
        assert isinstance(coarse, CoarseSegmenter)
        assert coarse.decoder.head.weight.std() < 0.1
        assert enhanced.decoder.head.weight.std() < 0.1
