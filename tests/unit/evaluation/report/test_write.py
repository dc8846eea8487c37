from __future__ import annotations

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn.artifacts.calibration import Estimate, OperatingPoint
from mbdcnn.evaluation.activation import Focus
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.report import charts
from mbdcnn.evaluation.report.gallery import GalleryCase
from mbdcnn.evaluation.report.wording import comparison_lines
from mbdcnn.evaluation.report.write import MASK_METRICS, PIXELS, write_report
from mbdcnn.evaluation.scoring import summarise, to_json
from mbdcnn.inference import overlay
from mbdcnn.metrics.masks import mask_metrics

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
VOID = {"meta", "img", "line", "polyline", "rect", "circle"}
NASTY = '<script>alert("x")</script> & $title ${style}'


class Page(HTMLParser):
    """Collects a page's text and addresses, and checks that tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def made_up_scores(images: int = 30) -> list[ImageScore]:
    rng = np.random.default_rng(7)
    truths = rng.uniform(size=(images, 12, 17)) < 0.5
    coarse, enhanced = (truths ^ (rng.uniform(size=truths.shape) < flips) for flips in (0.2, 0.1))
    return [
        ImageScore(
            f"image {number}",
            17,
            12,
            number % 3,
            tuple(rng.dirichlet(np.ones(3) + 2 * np.eye(3)[number % 3]).tolist()),
            mask_metrics(enhanced[number], truths[number]),
            mask_metrics(coarse[number], truths[number]),
        )
        for number in range(images)
    ]


def case(name: str = "ISIC_1", group: str = "Best") -> GalleryCase:
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    return GalleryCase(
        id=name,
        image=np.full((60, 80, 3), 200, np.uint8),
        truth=mask,
        coarse=np.roll(mask, 6, axis=1),
        enhanced=np.roll(mask, -6, axis=1),
        activation_map=np.ones((4, 4), np.float32),
        jaccard=0.756,
        label="melanoma",
        probabilities={"nevus": 0.25, "melanoma": 0.75},
        group=group,
    )


def write(path: Path, scores: list[ImageScore], *gallery: GalleryCase, samples: int = 50, **more: object) -> Page:
    summary = summarise(scores, CLASSES, samples=samples)
    settings = {"title": "Test set", "facts": {"Model": "compact"}, **more}
    write_report(path, summary, gallery, **settings)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_the_headline_comes_first_with_its_intervals(path: Path) -> None:
    page = write(path, made_up_scores(), case())
    summary = summarise(made_up_scores(), CLASSES, samples=50)
    for estimate in (summary["segmentation"]["enhanced"]["jaccard"], summary["classification"]["mean_auc"]):
        value, low, high = (f"{100 * estimate[key]:.1f}" for key in ("value", "low", "high"))
        headline = page.text.index(value)
        assert headline < page.text.index(f"95 % interval {low} to {high}") < page.text.index("Segmentation")
    gain = summary["segmentation"]["difference"]["jaccard"]["value"]
    assert f"Difference (final - coarse): +{100 * gain:.1f} points" in page.text
    assert page.text.index("not a medical device") < page.text.index("Jaccard")


def test_the_page_needs_nothing_but_itself(path: Path) -> None:
    page = write(path, made_up_scores(), case(), curves={"loss": {"training": [(0, 1.0), (10, 0.5)]}})
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert page.addresses
    assert page.tags.isdisjoint({"script", "link", "iframe", "object"})
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import", html)
    assert "default-src 'none'" in html


def test_text_of_the_user_is_escaped_everywhere(path: Path) -> None:
    nasty_classes = (NASTY + "0", NASTY + "1")
    scores = [
        score._replace(id=NASTY, label=n % 2, probabilities=(0.1 + n / 40, 0.9 - n / 40))
        for n, score in enumerate(made_up_scores())
    ]
    shown = GalleryCase(
        NASTY, np.zeros((8, 8, 3), np.uint8), label=NASTY + "1", probabilities={NASTY + "1": 1.0}, group=NASTY
    )
    write_report(
        path,
        summarise(scores, nasty_classes, samples=5),
        [shown],
        title=NASTY,
        facts={NASTY: NASTY},
        curves={NASTY: {NASTY: [(0, 1.0), (1, 2.0)]}},
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert page.text.count(NASTY) > 15


def test_names_that_a_template_might_take_for_something_else(path: Path) -> None:
    classes = ("items", "a.b", "0")
    one = {"value": 0.1, "low": 0.05, "high": 0.2}
    others = dict.fromkeys(classes[1:], one)
    areas = dict.fromkeys(("mean_auc", *(f"{name}_auc" for name in classes[1:])), one)
    moved = {"decisions_changed": one, "probability_change": others, "probability_change_of_cases": others}
    stress = {
        "images": 30,
        "clean": {"jaccard": one, "mean_auc": one, "calibration_error": None},
        "corruptions": [{"name": "blur", "levels": [{"difference": {"jaccard": None, "mean_auc": one}}] * 3}],
        "counterfactuals": [
            {"name": "sticker", "images": 7, **moved, "auc_change": areas},
            {"name": "background", "images": 0},
        ],
    }
    summary = summarise(made_up_scores(), classes, samples=5) | {"stress": stress}
    write_report(path, summary, [case()], "Test set", {"update": "values"}, {"pop": {"keys": [(0, 1.0)]}})
    text = " ".join(Page(path.read_text(encoding="utf-8")).text.split())
    for name in classes[1:]:
        assert f"AUC, {name} " in text
        assert f"Probability of {name}, mean amount 10.0 5.0 to 20.0" in text
        assert f"Probability of {name}, in its cases +10.0 +5.0 to +20.0" in text
    assert "10 items, 10 a.b, 10 0)" in text
    assert "corrupted in 1 ways at 3 severities" in text
    assert "sticker, 7 images" in text
    assert "background, 0 images" not in text
    stress["counterfactuals"] = [{"name": "sticker", "images": 0}]
    write_report(path, summary, [], "Test set", {})
    assert "What is not the lesion changes" not in path.read_text(encoding="utf-8")


def test_every_number_of_the_tables_is_shown(path: Path) -> None:
    text = write(path, made_up_scores(), samples=0).text
    summary = summarise(made_up_scores(), CLASSES, samples=0)
    networks = [summary["segmentation"][name] for name in ("coarse", "enhanced")]
    # Pixels are no share of a hundred, and the official rule's column is shown where it differs.
    estimates = [
        network[name] for network in networks for name in network if name in MASK_METRICS and name not in PIXELS
    ]
    for of_class in summary["classification"]["classes"].values():
        estimates += [estimate for name, estimate in of_class.items() if name != "cases"]
    assert len(estimates) == 2 * 8 + 2 * 10
    for estimate in estimates:
        assert f" {100 * estimate['value']:.1f} " in f" {text} "
    assert "No intervals were computed" in text
    assert "95 % interval" not in text


def test_scores_before_calibration_stand_beside_those_after(path: Path) -> None:
    calibrated = made_up_scores()
    rng = np.random.default_rng(1)
    scores = [score._replace(uncalibrated=tuple(rng.dirichlet(np.ones(3)).tolist())) for score in calibrated]
    text = write(path, scores, samples=0).text
    shown = text[text.index("Before calibration") : text.index("ROC curves")]
    plain = summarise(scores, CLASSES, samples=0)["classification"]["uncalibrated"]
    for of_class in plain["classes"].values():
        for name in ("auc", "average_precision", "accuracy", "sensitivity", "specificity"):
            assert f" {100 * of_class[name]['value']:.1f} " in f" {shown} "
    assert f" {100 * plain['mean_auc']['value']:.1f} " in f" {shown} "
    assert "Before calibration" not in write(path, calibrated, samples=0).text


def test_where_the_classifier_looks_is_shown_beside_chance(path: Path) -> None:
    scores = made_up_scores()
    assert "Where the classifier looks" not in write(path, scores).text
    looking = [score._replace(focus=Focus(0.271, n < 6, n < 9, n > 1, 0.113, 0.317)) for n, score in enumerate(scores)]
    text = write(path, looking, samples=0).text
    shown = text[text.index("Where the classifier looks") :]
    shown = " ".join(shown[: shown.index("positive value")].split())
    assert "Energy inside the lesion 27.1 11.3 27.1 11.3" in shown
    assert "(pointing game) 20.0 11.3" in shown
    assert "within a cell of the map 30.0 31.7" in shown
    assert "in 30 images" in shown
    assert "2 maps have no" in shown


def test_the_confusion_matrix_keeps_truth_in_rows(path: Path) -> None:
    certain = (0.0, 1.0, 0.0)
    scores = [ImageScore(str(n), 5, 5, label, certain) for n, label in enumerate([0, 0, 0, 1])]
    html = path.read_text(encoding="utf-8") if write(path, scores) else ""
    rows = re.search(r'<table class="confusion">.*?</table>', html, re.DOTALL)[0].split("<tr>")[2:]
    assert [re.findall(r"<b>(\d+)</b>", row) for row in rows] == [["0", "3", "0"], ["0", "1", "0"], ["0"] * 3]


def test_parts_without_truth_are_left_out(path: Path) -> None:
    scores = made_up_scores()
    no_masks = write(path, [score._replace(enhanced=None, coarse=None) for score in scores]).text
    assert "Segmentation" not in no_masks
    assert "Mean AUC" in no_masks
    no_labels = write(path, [score._replace(label=None) for score in scores]).text
    assert "Classification" not in no_labels
    final_only = write(path, [score._replace(coarse=None) for score in scores]).text
    assert "Difference" not in final_only
    assert "Coarse mask" not in final_only


def test_a_class_without_cases_is_not_applicable(path: Path) -> None:
    text = write(path, [score for score in made_up_scores() if score.label != 2]).text
    assert "left out of the mean: seborrheic keratosis" in text
    table = text[text.index("Classification") : text.index("Confusion matrix")]
    # Accuracy, specificity and calibration error need no cases.
    assert table.count("not applicable") == 7


def test_empty_masks_are_shown_by_both_rules_where_they_differ(path: Path) -> None:
    assert "No mask is empty" in write(path, made_up_scores(6)).text
    nothing = np.zeros((4, 4), bool)
    empty = ImageScore("a", 4, 4, 0, (1.0, 0.0, 0.0), enhanced=mask_metrics(nothing, nothing))
    text = write(path, [*made_up_scores(6), empty]).text
    assert "0/0 left out (authors)" in text
    assert "0/0 counts as 100 (official scorer)" in text


def test_every_group_is_shown(path: Path) -> None:
    scores = [
        score._replace(lesion_fraction=0.05 + 0.3 * (n % 2), skin_tone=60.0 - n, source=f"folder {n % 2}")
        for n, score in enumerate(made_up_scores(31))
    ]
    page = write(path, [*scores[:30], scores[30]._replace(skin_tone=-50.0, source="elsewhere")])
    names = (
        "seborrheic keratosis",
        "under 10 % of the image",
        "30 % and more",
        "folder 1",
        "elsewhere",
        "very light",
    )
    assert all(name in page.text for name in (*names, "dark, under", "methods to measure it disagree"))
    summary = summarise(scores, CLASSES, samples=5)
    for grouping in summary["groups"]:
        assert sum(group["images"] for group in grouping["groups"]) == 31


@pytest.mark.parametrize("images", [1, 2])
def test_a_handful_of_images_makes_a_page(path: Path, images: int) -> None:
    assert f"{images} image" in write(path, made_up_scores(images), case()).text


def test_nothing_but_undefined_scores_makes_a_page(path: Path) -> None:
    nothing = np.zeros((4, 4), bool)
    only = ImageScore("a", 4, 4, 0, (1.0, 0.0, 0.0), enhanced=mask_metrics(nothing, nothing))
    assert "not applicable" in write(path, [only]).text


def test_a_summary_read_from_json_gives_the_same_page(path: Path) -> None:
    summary = summarise(made_up_scores(), CLASSES, samples=20)
    pages = []
    for given in (summary, json.loads(to_json(summary))):
        write_report(path, given, [case()], "Test set", {})
        pages.append(path.read_text(encoding="utf-8"))
    assert pages[0] == pages[1]


def test_cases_stand_under_their_headings_with_both_images(path: Path) -> None:
    page = write(path, made_up_scores(), case("case 1"), case("case 2", "Worst"), case("case 3"))
    positions = [page.text.index(word) for word in ("Best", "case 1", "case 3", "Worst", "case 2")]
    assert positions == sorted(positions)
    assert "Jaccard 75.6 %" in page.text
    assert len(page.addresses) == 6
    outlined, heated = (
        np.array(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))).astype(int)
        for address in page.addresses[:2]
    )
    assert outlined.shape == heated.shape == (60, 80, 3)
    for colour, column in ((overlay.TRUTH, 20), (overlay.COARSE, 26), (overlay.FINAL, 14)):
        assert np.abs(outlined[30, column - 1 : column + 2] - colour).sum(axis=1).min() < 60
    hottest = overlay.HEAT_OPACITY * overlay.HEAT_TABLE[255] + (1 - overlay.HEAT_OPACITY) * 200
    # The map wherever the final outline does not lie, whose mask is 10 to 50 by 14 to 54.
    away = np.ones((60, 80), bool)
    away[:, :62] = False
    away[20:40, 24:44] = True
    assert np.abs(heated - hottest)[away].max() < 12
    assert np.abs(heated[30, 13:16] - overlay.FINAL).sum(axis=1).min() < 60


def test_a_case_has_the_answer_thresholds_on_its_bars_and_a_named_map(path: Path) -> None:
    said = "melanoma 75 %: above the threshold (13 %)"
    page = write(
        path,
        made_up_scores(),
        replace(case(), answer=said, activation_class="seborrheic_keratosis", thresholds=[("melanoma", 0.132)]),
    )
    html = path.read_text(encoding="utf-8")
    assert said.replace(" %", "\N{NO-BREAK SPACE}%") in page.text
    assert "Activation map of seborrheic keratosis" in page.text
    assert "with the activation map of seborrheic keratosis" in html
    assert re.search(r"Activation map, 0 <i [^>]*linear-gradient[^>]*></i> 1<", html)
    assert "Threshold of an operating point" in page.text
    nevus, melanoma = re.findall(r'<dd class="track">(.*?)</dd>', html)
    assert "threshold" not in nevus
    assert '<i class="threshold" style="left:13.2%"></i>' in melanoma
    assert "Threshold of an operating point" not in write(path, made_up_scores(), case()).text


def test_all_classes_together_have_balanced_accuracy_macro_f1_and_kappa(path: Path) -> None:
    scores = made_up_scores()
    text = " ".join(write(path, scores).text.split())
    found = summarise(scores, CLASSES, samples=50)["classification"]
    for key, name in (("balanced_accuracy", "Balanced accuracy"), ("macro_f1", "Macro F1"), ("cohen_kappa", "kappa")):
        value, low, high = (f"{100 * found[key][bound]:.1f}" for bound in ("value", "low", "high"))
        assert f"{name} {value} {low} to {high}" in text


def test_classes_of_few_cases_are_warned_of_at_the_top(path: Path) -> None:
    def top(scores: list[ImageScore], **more: object) -> str:
        return " ".join(write(path, scores, samples=5, **more).text.partition("Jaccard index")[0].split())

    assert "Caution." not in top(made_up_scores(60))
    few = [score for score in made_up_scores(60) if score.label != 1] + made_up_scores(3)[1:2]
    said = top(few, facts={"caution": "such images trained it"})
    assert said.count("Caution.") == 2
    assert "such images trained it." in said
    assert "Only 1 of melanoma: under 20 cases a score of the class says little" in said
    assert "10 of nevus and 10 of melanoma and 10 of seborrheic keratosis" in top(made_up_scores(30))
    assert "Caution." not in top([score for score in made_up_scores(60) if score.label != 1])
    assert "Caution." not in top([score._replace(probabilities=None) for score in made_up_scores(30)])


def test_operating_points_lie_on_the_roc_curve_and_prevalences_beside_the_precision(path: Path) -> None:
    scores = made_up_scores()
    calibrated = Estimate(0.8, 0.7, 0.9)
    point = OperatingPoint(
        name="melanoma at 80% sensitivity",
        class_name="melanoma",
        target=0.8,
        threshold=0.25,
        threshold_interval=(0, 1),
        sensitivity=calibrated,
        specificity=calibrated,
    )
    summary = summarise(scores, CLASSES, samples=5, thresholds=[point])
    write_report(path, summary, [], "Test set", {})
    html = path.read_text(encoding="utf-8")
    (here,) = summary["classification"]["operating_points"]
    marks = re.findall(r'<g class="mark (series-\d)"><circle cx="([\d.]+)" cy="([\d.]+)"', html)
    axes = charts.Axes(0, 1, 0, 1)
    false_alarms, found = 1 - here["specificity"]["value"], here["sensitivity"]["value"]
    assert marks == [("series-0", str(axes.x(false_alarms)), str(axes.y(found)))]
    assert "25.0 % and more</text>" in html
    # On the curve: between two of its corners.
    corners = summary["classification"]["roc"]["melanoma"]
    assert any(
        a[0] - 1e-6 <= false_alarms <= b[0] + 1e-6 and a[1] - 1e-6 <= found <= b[1] + 1e-6 for a, b in pairwise(corners)
    )
    third = str(axes.y(1 / 3))
    lines = re.findall(r'class="prevalence (series-\d)" points="[\d.]+,([\d.]+) [\d.]+,([\d.]+)"', html)
    assert lines == [(f"series-{number}", third, third) for number in range(2)]
    assert "seborrheic keratosis, prevalence 33.3 %" in html


def test_nothing_is_drawn_of_a_single_point(path: Path) -> None:
    curves = {"Validation mean AUC": {"mask-CN": [(900, 0.875)]}, "Loss": {"a": [(1, 2.0), (2, 1.0)], "b": [(5, 1.5)]}}
    page = write(path, made_up_scores(3), curves=curves)
    html = path.read_text(encoding="utf-8")
    assert (
        "Measured once, so there is no curve: Validation mean AUC, mask-CN: 0.875 at step 900; Loss, b: 1.5"
        in page.text
    )
    assert "<title>Loss</title>" in html
    assert "<title>Validation mean AUC</title>" not in html
    alike = [score._replace(probabilities=(0.86, 0.14, 0.0)) for score in made_up_scores(3)]
    page = write(path, alike)
    assert "All probabilities fall into one bin" in page.text
    assert "probabilities 86.0 % on average, 33.3 % right" in " ".join(page.text.split())
    assert "<title>Reliability diagram</title>" not in path.read_text(encoding="utf-8")


def test_an_axis_of_values_that_are_all_1_does_not_go_higher() -> None:
    chart = charts.line_chart({"a": [(0, 1.0), (10, 1.0)]}, "mean AUC", "step")
    numbers = [float(number) for number in re.findall(r'text-anchor="end">([\d.]+)<', chart)]
    assert max(numbers) == 1
    assert min(numbers) < 1


def test_a_large_image_is_reduced_and_its_mask_with_it(path: Path) -> None:
    mask = np.zeros((1501, 1999), bool)
    mask[300:900, 400:1500] = True
    large = GalleryCase("large", np.full((1501, 1999, 3), 90, np.uint8), truth=mask, enhanced=mask)
    page = write(path, made_up_scores(3), large)
    assert Image.open(io.BytesIO(base64.b64decode(page.addresses[0].partition(",")[2]))).size == (640, 481)


def test_curves_leave_out_what_is_not_a_number(path: Path) -> None:
    curves = {
        "loss": {"training": [(0, 1.0), (5, math.nan), (10, 0.5)], "validation": [(0, math.inf)]},
        "no points": {"training": []},
        "one point": {"training": [(3, 0.5)]},
    }
    page = write(path, made_up_scores(3), curves=curves)
    assert "training" in page.text
    assert "validation" not in page.text
    assert "no points" not in page.text
    assert "nan" not in path.read_text(encoding="utf-8").lower().replace("nano", "")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.772, 0.815, [0.78, 0.79, 0.8, 0.81]),
        (0, 62500, [0, 20000, 40000, 60000]),
        (-0.02, 0.02, [-0.02, -0.01, 0, 0.01, 0.02]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == expected


def test_charts_put_values_where_they_belong() -> None:
    bars = re.findall(r'height="([\d.]+)"', charts.histogram([0, 0.5, 1], {"enhanced": [2, 4]}, "x"))
    assert float(bars[1]) == 2 * float(bars[0]) == charts.HEIGHT - charts.TOP - charts.BOTTOM
    curve = re.findall(r'class="curve series-0" points="([^"]*)"', charts.roc_chart({"a": [(0, 0), (0, 1), (1, 1)]}))
    left, right = float(charts.LEFT), float(charts.WIDTH - charts.RIGHT)
    top, bottom = float(charts.TOP), float(charts.HEIGHT - charts.BOTTOM)
    assert curve == [f"{left},{bottom} {left},{top} {right},{top}"]


def test_an_interval_is_drawn_round_its_value() -> None:
    rows = [charts.IntervalRow("a", "final", 0.8, 0.7, 0.85), charts.IntervalRow("b", "coarse", 0.6, None, None)]
    chart = charts.interval_chart(rows, "title")
    low, high = (float(value) for value in re.search(r'"whisker" x1="([\d.]+)" x2="([\d.]+)"', chart).groups())
    first, second = (float(value) for value in re.findall(r'cx="([\d.]+)"', chart))
    assert second < low < first < high
    assert (first - low) / (high - first) == pytest.approx(2, abs=0.01)
    assert chart.count("whisker") == 1


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.03, "the other one is better by more than chance"),
        (-0.03, -0.01, "this one is better by more than chance"),
        (-0.01, 0.03, "no difference beyond chance"),
        (None, None, "not enough images to tell which is better"),
    ],
)
def test_two_models_side_by_side_with_a_verdict(low: float | None, high: float | None, verdict: str) -> None:
    other, difference = ({"value": value, "low": low, "high": high} for value in (0.8, 0.02))
    comparison = {
        "second_name": "bundled",
        "second": {"mean_auc": other},
        "difference": {"mean_auc": difference, "enhanced_jaccard": None},
    }
    first, *lines = comparison_lines(comparison)
    assert first.startswith("compared with bundled")
    assert len(lines) == 1
    assert lines[0].startswith("         mean AUC 0.800, +0.020")
    assert lines[0].endswith(verdict)


def test_labels_of_close_operating_points_lie_below_one_another() -> None:
    marks = [("a", x, y, f"{x}") for x, y in ((0.1, 0.8), (0.4, 0.97), (0.45, 0.97), (0.9, 0.98))]
    drawn = charts.roc_chart({"a": [(0, 0), (1, 1)]}, marks)
    labels = {
        text: (float(x), float(y)) for x, y, text in re.findall(r'<text x="([\d.]+)" y="([\d.]+)">(0\.\d+)<', drawn)
    }
    assert labels["0.4"][1] == labels["0.45"][1] + charts.LABEL_LINE
    assert labels["0.9"][1] < labels["0.4"][1] < labels["0.1"][1]


def test_labels_of_operating_points_on_a_steep_curve_stay_near_their_points() -> None:
    marks = [("a", x, y, "label") for x, y in ((0.11, 0.83), (0.2, 0.93), (0.375, 0.97))]
    drawn = charts.roc_chart({"a": [(0, 0), (1, 1)]}, marks)
    places = re.findall(r'cy="([\d.]+)" r="5.5"/><text x="[\d.]+" y="([\d.]+)">label', drawn)
    assert len(places) == 3
    assert all(float(label) - float(point) <= 16 + charts.LABEL_LINE + 0.01 for point, label in places)
