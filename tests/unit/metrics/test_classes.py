"""Scores of one classifier, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from mbdcnn.metrics.classes import class_metrics, mean_auc

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), images=st.integers(4, 60), decimals=st.integers(1, 6))
def test_class_metrics_equal_scikit_learn_with_ties(seed: int, images: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1, 1, 1], images).round(decimals)
    labels = np.concatenate([[0, 1, 2], rng.integers(0, 3, images - 3)])
    decisions = probabilities.argmax(axis=1)
    for index, name in enumerate(CLASSES[1:], start=1):
        metrics = class_metrics(probabilities, labels, CLASSES)[name]
        truth, score, decided = labels == index, probabilities[:, index], decisions == index
        assert metrics == pytest.approx(
            {
                "cases": truth.sum(),
                "accuracy": sklearn_metrics.accuracy_score(truth, decided),
                "auc": sklearn_metrics.roc_auc_score(truth, score),
                "average_precision": sklearn_metrics.average_precision_score(truth, score),
                "sensitivity": sklearn_metrics.recall_score(truth, decided),
                "specificity": sklearn_metrics.recall_score(~truth, ~decided),
            },
            abs=1e-6,
        )


def test_a_class_without_cases_is_left_out_of_the_mean() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.3, 0.3, 0.4]])
    metrics = class_metrics(probabilities, np.array([0, 1, 1, 0]), CLASSES)
    absent = metrics["seborrheic_keratosis"]
    assert (absent["cases"], absent["auc"], absent["average_precision"], absent["sensitivity"]) == (
        0,
        None,
        None,
        None,
    )
    assert absent["specificity"] == 0.75
    assert mean_auc(metrics) == metrics["melanoma"]["auc"] == 1.0


def test_a_class_of_nothing_but_cases_has_no_auc() -> None:
    metrics = class_metrics(np.array([[0.4, 0.6], [0.7, 0.3]]), np.array([1, 1]), CLASSES[:2])
    assert (metrics["melanoma"]["auc"], metrics["melanoma"]["specificity"]) == (None, None)
    assert metrics["melanoma"]["sensitivity"] == 0.5
    assert mean_auc(metrics) is None


def test_the_mean_is_over_the_classes_that_have_an_auc() -> None:
    areas = {"a": 0.5, "b": None, "c": 1.0, "d": 0.9}
    metrics = {name: {"auc": area} for name, area in areas.items()}
    assert mean_auc(metrics) == pytest.approx(0.8)


def test_probabilities_that_round_above_one_stay_probabilities() -> None:
    # A sigmoid over all scores, as for logits, would make the last two equal in float32.
    positive = np.array([1.0000001, 0.5, 0.50000006], np.float32)
    probabilities = np.stack([1 - positive, positive], axis=1)
    assert mean_auc(class_metrics(probabilities, np.array([1, 0, 1]), CLASSES[:2])) == 1.0


def test_as_many_columns_as_classes() -> None:
    with pytest.raises(ValueError, match="zip"):
        class_metrics(np.full((2, 3), 1 / 3), np.array([0, 1]), CLASSES[:2])
