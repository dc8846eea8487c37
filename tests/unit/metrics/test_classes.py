"""The score of one classifier, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mbdcnn.metrics.classes import mean_auc


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), images=st.integers(4, 60), decimals=st.integers(1, 6))
def test_mean_auc_equals_scikit_learn_with_ties(seed: int, images: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1, 1, 1], images).round(decimals)
    labels = np.concatenate([[0, 1, 2], rng.integers(0, 3, images - 3)])
    areas = [roc_auc_score(labels == index, probabilities[:, index]) for index in (1, 2)]
    assert mean_auc(probabilities, labels) == pytest.approx(np.mean(areas), abs=1e-6)


def test_a_class_without_cases_is_left_out_of_the_mean() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.3, 0.5, 0.2]])
    assert mean_auc(probabilities, np.array([0, 1, 1, 0])) == 0.75


def test_a_class_of_nothing_but_cases_has_no_auc() -> None:
    assert mean_auc(np.array([[0.4, 0.6], [0.7, 0.3]]), np.array([1, 1])) is None


def test_probabilities_that_round_above_one_stay_probabilities() -> None:
    # A sigmoid over all scores, as for logits, would make the last two equal in float32.
    positive = np.array([1.0000001, 0.5, 0.50000006], np.float32)
    probabilities = np.stack([1 - positive, positive], axis=1)
    assert mean_auc(probabilities, np.array([1, 0, 1])) == 1.0
