"""What enhanced-SN is given while it is trained."""

from __future__ import annotations

import torch

from mbdcnn.config import load_config
from mbdcnn.models import build_classifier, build_network
from mbdcnn.training.segmentation import EnhancedSegmentationTask
from mbdcnn.training.task import Course

TRUTH, COARSE = torch.ones(1000, 1, 2, 2), torch.zeros(1000, 1, 2, 2)


def task(share: float) -> EnhancedSegmentationTask:
    config = load_config("demo", [f"enhanced.true_masks={share}"])
    network = build_network("enhanced", config)
    course = Course(config.enhanced.training, config.data.image_size, 1, 0, [])
    return EnhancedSegmentationTask(network, course, config.enhanced, build_classifier(config), "relu")


def test_the_share_of_true_masks_is_the_one_that_is_set() -> None:
    torch.manual_seed(0)
    given = task(0.3).given(TRUTH, COARSE)
    # Whole masks, one or the other.
    assert torch.equal(given.amin((1, 2, 3)), given.amax((1, 2, 3)))
    assert 0.26 < given.mean() < 0.34
    assert task(1.0).given(TRUTH, COARSE).min() == 1
    assert torch.equal(task(0.0).given(TRUTH, COARSE), COARSE)
