"""Metrics against numbers that the authors' code printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.scoring import summarise
from mbdcnn.metrics.masks import mask_metrics

PROTOCOL = json.loads((Path(__file__).parent / "protocol.json").read_text())
CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
SCORES = ("jaccard", "dice", "accuracy", "sensitivity", "specificity")


@pytest.mark.parametrize("image", PROTOCOL["segmentation_metrics_per_image"])
def test_mask_metrics(image: dict[str, list[list[int]] | float]) -> None:
    ours = mask_metrics(np.array(image["predicted"], bool), np.array(image["truth"], bool))
    assert [ours[name] for name in SCORES] == pytest.approx([image[name] for name in SCORES], nan_ok=True)


def test_mean_over_images_ignores_nan() -> None:
    images = PROTOCOL["segmentation_metrics_per_image"]
    masks = [mask_metrics(np.array(i["predicted"], bool), np.array(i["truth"], bool)) for i in images]
    scores = [ImageScore(str(n), 17, 12, enhanced=mask) for n, mask in enumerate(masks)]
    summary = summarise(scores, CLASSES, samples=0)["segmentation"]["enhanced"]
    for name in SCORES:
        assert summary[name]["value"] == pytest.approx(np.nanmean([image[name] for image in images]))


def test_class_metrics() -> None:
    golden = PROTOCOL["classification_metrics"]
    scores = [
        ImageScore(str(number), 1, 1, label, tuple(probabilities))
        for number, (label, probabilities) in enumerate(zip(golden["labels"], golden["probabilities"], strict=True))
    ]
    summary = summarise(scores, CLASSES, samples=0)["classification"]
    for name, expected in golden["expected"].items():
        ours = {metric: summary["classes"][name][metric]["value"] for metric in expected}
        assert ours == pytest.approx(expected, abs=1e-12)
    areas = [expected["auc"] for expected in golden["expected"].values()]
    assert summary["mean_auc"]["value"] == pytest.approx(np.mean(areas))
