from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    recall_score,
    roc_auc_score,
)

from mbdcnn.artifacts.calibration import Estimate, OperatingPoint
from mbdcnn.errors import UserError
from mbdcnn.evaluation.activation import Focus
from mbdcnn.evaluation.image_score import ImageScore, choose_cases, missed_cases, write_per_image_csv
from mbdcnn.evaluation.scoring import summarise, to_json
from mbdcnn.metrics.masks import mask_metrics

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


def made_up_scores(images: int = 60, patients: bool = False) -> list[ImageScore]:
    rng = np.random.default_rng(7)
    scores = []
    for number in range(images):
        truth = rng.uniform(size=(12, 17)) < rng.uniform(0.2, 0.8)
        enhanced, coarse = (truth ^ (rng.uniform(size=truth.shape) < flips) for flips in (0.05, 0.15))
        label = int(rng.integers(0, 3))
        probabilities = rng.dirichlet(np.ones(3) + 2 * np.eye(3)[label])
        scores.append(
            ImageScore(
                id=f"image {number}",
                width=17,
                height=12,
                label=label,
                probabilities=tuple(probabilities.tolist()),
                enhanced=mask_metrics(enhanced, truth),
                coarse=mask_metrics(coarse, truth),
                patient=f"patient {number // 3}" if patients else None,
            )
        )
    return scores


def empty(prediction: bool) -> ImageScore:
    """An image without a lesion, with or without a false alarm."""
    truth = np.zeros((4, 4), bool)
    mask = mask_metrics(truth | prediction, truth)
    return ImageScore("empty", 4, 4, enhanced=mask, coarse=mask)


def test_values_equal_those_of_plain_formulas() -> None:
    scores = made_up_scores()
    summary = summarise(scores, CLASSES, samples=0)
    jaccards = np.array([score.enhanced["jaccard"] for score in scores])
    enhanced = summary["segmentation"]["enhanced"]
    assert enhanced["jaccard"]["value"] == pytest.approx(jaccards.mean())
    assert enhanced["thresholded_jaccard"]["value"] == pytest.approx(np.where(jaccards < 0.65, 0, jaccards).mean())
    overlap = sum(score.enhanced["true_positives"] for score in scores)
    errors = sum(score.enhanced["false_positives"] + score.enhanced["false_negatives"] for score in scores)
    assert enhanced["pooled_jaccard"]["value"] == pytest.approx(overlap / (overlap + errors))

    labels = np.array([score.label for score in scores])
    probabilities = np.array([score.probabilities for score in scores])
    decided = probabilities.argmax(axis=1)
    areas = []
    for index, name in enumerate(CLASSES[1:], start=1):
        ours = summary["classification"]["classes"][name]
        is_case, score, found = labels == index, probabilities[:, index], decided == index
        areas.append(roc_auc_score(is_case, score))
        expected = {
            "auc": areas[-1],
            "average_precision": average_precision_score(is_case, score),
            "accuracy": accuracy_score(is_case, found),
            "sensitivity": recall_score(is_case, found),
            "specificity": recall_score(~is_case, ~found),
        }
        assert ours.pop("cases") == is_case.sum()
        assert {metric: ours[metric]["value"] for metric in expected} == pytest.approx(expected, abs=1e-6)
        assert all(estimate is not None for estimate in ours.values())
    assert summary["classification"]["mean_auc"]["value"] == pytest.approx(np.mean(areas), abs=1e-6)
    for name, score in (
        ("balanced_accuracy", balanced_accuracy_score(labels, decided)),
        ("macro_f1", f1_score(labels, decided, average="macro")),
        ("cohen_kappa", cohen_kappa_score(labels, decided)),
    ):
        assert summary["classification"][name]["value"] == pytest.approx(score)
    confusion = confusion_matrix(labels, decided)
    assert summary["classification"]["confusion_truth_by_decision"] == confusion.tolist()


def test_every_value_lies_in_its_interval_and_resampling_is_seeded() -> None:
    summary = summarise(made_up_scores(), CLASSES, samples=300, seed=1)
    estimates = [estimate for network in ("coarse", "enhanced", "difference") for estimate in
                 summary["segmentation"][network].values()]  # fmt: skip
    overall = ("mean_auc", "balanced_accuracy", "macro_f1", "cohen_kappa")
    estimates += [summary["classification"][name] for name in overall]
    estimates += [summary["classification"]["classes"]["melanoma"][m] for m in ("auc", "average_precision")]
    estimates += [summary["classification"]["calibration"]["after"]["calibration_error"]]
    assert len(estimates) == 3 * 14 + 7
    assert all(estimate["low"] < estimate["value"] < estimate["high"] for estimate in estimates)
    assert summary == summarise(made_up_scores(), CLASSES, samples=300, seed=1)
    assert summary != summarise(made_up_scores(), CLASSES, samples=300, seed=2)


def test_difference_is_paired() -> None:
    segmentation = summarise(made_up_scores(), CLASSES, samples=500)["segmentation"]
    enhanced, coarse, gain = (segmentation[key]["jaccard"] for key in ("enhanced", "coarse", "difference"))
    assert gain["value"] == pytest.approx(enhanced["value"] - coarse["value"])
    width = {name: e["high"] - e["low"] for name, e in (("gain", gain), ("enhanced", enhanced), ("coarse", coarse))}
    assert width["gain"] < math.hypot(width["enhanced"], width["coarse"])


def test_patients_are_resampled_whole() -> None:
    by_image, by_patient = (summarise(made_up_scores(patients=known), CLASSES) for known in (False, True))
    assert (by_image["bootstrap"]["unit"], by_patient["bootstrap"]["unit"]) == ("image", "patient")
    jaccard = [summary["segmentation"]["enhanced"]["jaccard"] for summary in (by_image, by_patient)]
    assert jaccard[0]["value"] == jaccard[1]["value"]
    assert jaccard[0]["low"] != jaccard[1]["low"]


def test_undefined_numbers_become_null() -> None:
    summary = summarise([empty(prediction=False)], CLASSES)
    reread = json.loads(to_json(summary))
    assert reread["segmentation"]["enhanced"]["jaccard"] is None
    assert reread["segmentation"]["enhanced"]["specificity"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert reread["classification"] is None
    assert reread == summary


def test_nan_is_left_out_of_the_mean() -> None:
    scores = made_up_scores(5)
    with_undefined = [*scores, empty(prediction=False)]
    for metric in ("jaccard", "sensitivity"):
        plain, more = (summarise(s, CLASSES)["segmentation"]["enhanced"][metric] for s in (scores, with_undefined))
        assert plain["value"] == pytest.approx(more["value"])
    false_alarm = summarise([*scores, empty(prediction=True)], CLASSES)
    jaccards = [score.enhanced["jaccard"] for score in scores]
    assert false_alarm["segmentation"]["enhanced"]["jaccard"]["value"] == pytest.approx(sum(jaccards) / 6)


def test_parts_without_truth_are_left_out() -> None:
    scores = made_up_scores(12)
    no_masks = summarise([score._replace(enhanced=None, coarse=None) for score in scores], CLASSES)
    assert no_masks["segmentation"] is None
    assert no_masks["images"] == {
        "total": 12,
        "with_mask": 0,
        "with_label": 12,
        "per_class": {name: [s.label for s in scores].count(i) for i, name in enumerate(CLASSES)},
    }
    final_only = summarise([score._replace(coarse=None) for score in scores], CLASSES)["segmentation"]
    assert (final_only["coarse"], final_only["difference"]) == (None, None)
    assert final_only["enhanced"]["jaccard"] is not None
    half_labelled = [score._replace(label=None) if n % 2 else score for n, score in enumerate(scores)]
    mixed, plain = (summarise(s, CLASSES, samples=0)["classification"] for s in (half_labelled, scores[::2]))
    assert mixed == plain


def test_labelled_images_keep_their_own_place_in_the_resamples() -> None:
    scores = [
        score._replace(label=None, patient="unlabelled") if n % 2 else score._replace(patient="labelled")
        for n, score in enumerate(made_up_scores())
    ]
    # All labelled images are drawn equally often, so no resample moves their AUC.
    mean_auc = summarise(scores, CLASSES, samples=50)["classification"]["mean_auc"]
    assert mean_auc["low"] == pytest.approx(mean_auc["value"]) == pytest.approx(mean_auc["high"])


def test_a_class_without_cases_is_not_applicable() -> None:
    scores = [score for score in made_up_scores() if score.label != 2]
    classification = summarise(scores, CLASSES)["classification"]
    absent = classification["classes"]["seborrheic_keratosis"]
    assert (absent["cases"], absent["auc"], absent["average_precision"], absent["sensitivity"]) == (0,) + (None,) * 3
    assert absent["specificity"] is not None
    assert classification["mean_auc"] == classification["classes"]["melanoma"]["auc"]
    assert classification["roc"]["seborrheic_keratosis"] is None


def test_the_area_under_the_curve_is_the_auc() -> None:
    scores = [
        score._replace(probabilities=tuple(round(p, 1) for p in score.probabilities)) for score in made_up_scores(80)
    ]
    classification = summarise(scores, CLASSES, samples=0)["classification"]
    x, y = np.array(classification["roc"]["melanoma"]).T
    melanoma = [score.probabilities[1] for score in scores], [score.label == 1 for score in scores]
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(melanoma[1], melanoma[0]), abs=1e-5)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert len(x) < 11


def test_histogram_counts_every_image_once() -> None:
    scores = [*made_up_scores(), empty(prediction=False), empty(prediction=True)]
    histogram = summarise(scores, CLASSES, samples=0)["segmentation"]["jaccard_histogram"]
    assert len(histogram["edges"]) == 21
    assert sum(histogram["enhanced"]) == sum(histogram["coarse"]) == 61
    assert histogram["enhanced"][0] == 1


def test_empty_masks_count_by_both_rules() -> None:
    scores = [*made_up_scores(3), empty(prediction=False), empty(prediction=True)]
    enhanced = summarise(scores, CLASSES, samples=0)["segmentation"]["enhanced"]
    jaccards = [score.enhanced["jaccard"] for score in scores]
    assert math.isnan(jaccards[3])
    assert enhanced["jaccard"]["value"] == pytest.approx((sum(jaccards[:3]) + 0) / 4)
    assert enhanced["jaccard_official"]["value"] == pytest.approx((sum(jaccards[:3]) + 1 + 0) / 5)
    thresholded = sum(jaccard for jaccard in jaccards[:3] if jaccard >= 0.65)
    assert enhanced["thresholded_jaccard_official"]["value"] == pytest.approx((thresholded + 1) / 5)
    assert enhanced["boundary_distance_fraction"]["value"] <= 1


def test_calibration_error_before_and_after() -> None:
    scores = made_up_scores()
    certain = [
        score._replace(uncalibrated=tuple(float(p == max(score.probabilities)) for p in score.probabilities))
        for score in scores
    ]
    plain, both = (summarise(s, CLASSES, samples=50)["classification"] for s in (scores, certain))
    assert plain["calibration"].keys() == {"after"}
    assert plain["reliability"].keys() == {"probabilities"}
    errors = {key: both["calibration"][key]["calibration_error"]["value"] for key in both["calibration"]}
    assert errors["after"] == plain["calibration"]["after"]["calibration_error"]["value"]
    assert errors["before"] == pytest.approx(1 - both["accuracy"]["value"])
    assert errors["difference"] == pytest.approx(errors["after"] - errors["before"])
    assert sum(images for *_, images in both["reliability"]["calibrated"]) == len(scores)
    assert "uncalibrated" not in plain
    named = ("mean_auc", "accuracy", "balanced_accuracy", "macro_f1", "cohen_kappa", "classes")
    assert {name: both[name] for name in named} == {name: plain[name] for name in named}
    alone = summarise([score._replace(probabilities=score.uncalibrated) for score in certain], CLASSES, samples=50)
    for of_class in alone["classification"]["classes"].values():
        del of_class["cases"]
    assert both["uncalibrated"] == {name: alone["classification"][name] for name in named}
    assert both["uncalibrated"]["mean_auc"] != both["mean_auc"]
    assert both["reliability"]["uncalibrated"] == [[1.0, pytest.approx(both["accuracy"]["value"]), len(scores)]]


def operating_point(name: str, threshold: float, class_name: str = "melanoma") -> OperatingPoint:
    calibrated = Estimate(0.8, 0.7, 0.9)
    return OperatingPoint(
        name=name,
        class_name=class_name,
        target=0.8,
        threshold=threshold,
        threshold_interval=(0, 1),
        sensitivity=calibrated,
        specificity=calibrated,
    )


def test_missed_cases_are_those_of_the_most_sensitive_operating_point() -> None:
    scores = [
        ImageScore(str(number), 4, 4, label, (1 - share, share, 0.0))
        for number, (label, share) in enumerate([(1, 0.15), (1, 0.1), (1, 0.3), (0, 0.05), (1, 0.2), (2, 0.0)])
    ]
    scores += [ImageScore("no class", 4, 4, None, (1.0, 0.0, 0.0)), ImageScore("not predicted", 4, 4, 1)]
    wide, strict = operating_point("wide", 0.2), operating_point("strict", 0.5)
    for points in ((wide, strict), (strict, wide)):
        (missed,) = missed_cases(scores, CLASSES, points)
        # At the threshold itself an image is flagged.
        assert missed == ("melanoma", 4, [1, 0], wide)
    of_both = missed_cases(scores, CLASSES, (wide, operating_point("other", 0.0, "seborrheic_keratosis")))
    assert {each.class_name: each.positions for each in of_both} == {"melanoma": [1, 0], "seborrheic_keratosis": []}


def test_without_operating_points_a_case_is_missed_where_another_class_is_more_probable() -> None:
    scores = made_up_scores()
    for index, missed in enumerate(missed_cases(scores, CLASSES, ()), 1):
        cases = [score for score in scores if score.label == index]
        wrong = [score for score in cases if np.argmax(score.probabilities) != index]
        assert (missed.class_name, missed.cases, missed.point) == (CLASSES[index], len(cases), None)
        assert [scores[at] for at in missed.positions] == sorted(wrong, key=lambda score: score.probabilities[index])
        assert wrong


def test_operating_points_stand_beside_those_of_calibration() -> None:
    scores = made_up_scores()
    points = [operating_point("low", 0.2), operating_point("all", 0.0)]
    low, everything = summarise(scores, CLASSES, 20, thresholds=points)["classification"]["operating_points"]
    above = np.array([score.probabilities[1] >= 0.2 for score in scores])
    melanoma = np.array([score.label == 1 for score in scores])
    assert low["sensitivity"]["value"] == pytest.approx(above[melanoma].mean())
    assert low["specificity"]["value"] == pytest.approx((~above[~melanoma]).mean())
    assert low["at_calibration"]["sensitivity"] == {"value": 0.8, "low": 0.7, "high": 0.9}
    assert (everything["sensitivity"]["value"], everything["specificity"]["value"]) == (1, 0)


def test_the_steps_of_precision_and_recall_enclose_the_average_precision() -> None:
    classification = summarise(made_up_scores(80), CLASSES, samples=0)["classification"]
    for name in CLASSES[1:]:
        x, y = np.array(classification["precision_recall"][name]).T
        assert (np.diff(x) >= 0).all()
        area = classification["classes"][name]["average_precision"]["value"]
        assert np.trapezoid(y, x) == pytest.approx(area, abs=1e-4)


def test_nothing_to_score_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="nothing to evaluate"):
        summarise([], CLASSES)


def test_per_image_table(tmp_path: Path) -> None:
    first, second = made_up_scores(2)
    rows = [
        first._replace(id='a,"b"\nc', patient="p", focus=Focus(0.25, True, True, True, 0.1, 0.2)),
        second._replace(label=None, probabilities=None),
        empty(False),
    ]
    write_per_image_csv(tmp_path / "images.csv", rows, CLASSES)
    with (tmp_path / "images.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ['a,"b"\nc', "image 1", "empty"]
    assert float(table[0]["enhanced_jaccard"]) == first.enhanced["jaccard"]
    assert float(table[0]["probability_melanoma"]) == first.probabilities[1]
    assert (table[0]["cam_energy_inside"], table[0]["cam_pointing_game"], table[1]["cam_pointing_game"]) == (
        "0.25",
        "1",
        "",
    )
    assert table[0]["label"] == CLASSES[first.label]
    assert table[0]["decision"] == CLASSES[int(np.argmax(first.probabilities))]
    assert (table[1]["label"], table[1]["decision"], table[1]["probability_nevus"]) == ("", "", "")
    assert (table[2]["enhanced_jaccard"], table[2]["enhanced_specificity"]) == ("", "1.0")
    assert (table[2]["enhanced_jaccard_official"], table[2]["coarse_dice_official"]) == ("1.0", "1.0")
    assert table[0]["enhanced_jaccard_official"] == table[0]["enhanced_jaccard"]


@pytest.mark.parametrize(("images", "sizes"), [(0, []), (1, [1]), (2, [1, 1]), (4, [1, 1, 1]), (30, [3, 3, 3])])
def test_chosen_cases(images: int, sizes: list[int]) -> None:
    scores = [*made_up_scores(images), empty(prediction=False)]
    chosen = choose_cases(scores)
    assert [len(positions) for positions in chosen.values()] == sizes
    positions = [position for group in chosen.values() for position in group]
    assert len(set(positions)) == len(positions)
    if images == 30:
        ranked = np.argsort([-score.enhanced["jaccard"] for score in scores[:-1]]).tolist()
        assert chosen == {"Best": ranked[:3], "Median": ranked[13:16], "Worst": ranked[:-4:-1]}
