"""The report: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from math import isfinite
from pathlib import Path, PurePath
from typing import Any

from markupsafe import Markup

from mbdcnn.evaluation.report import charts, wording
from mbdcnn.evaluation.report.gallery import GalleryCase, legend
from mbdcnn.evaluation.report.training_runs import Curves
from mbdcnn.evaluation.report.wording import Estimate, interval, percent
from mbdcnn.inference.answer import words
from mbdcnn.system.templates import render

NETWORKS = {"coarse": "Coarse mask", "enhanced": "Final mask"}
MASK_METRICS = {
    "jaccard": "Jaccard index",
    "thresholded_jaccard": "Thresholded Jaccard",
    "pooled_jaccard": "Pooled Jaccard",
    "dice": "Dice",
    "accuracy": "Pixel accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "boundary_distance_fraction": "Boundary distance, of the diagonal",
    "boundary_distance": "Boundary distance, pixels",
}
PIXELS = {"boundary_distance"}
BY_RULE = {
    name: MASK_METRICS[name] for name in ("jaccard", "thresholded_jaccard", "dice", "sensitivity", "specificity")
}
CLASS_METRICS = {
    "auc": "AUC",
    "partial_auc": "Partial AUC above 80 % sensitivity",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "specificity_at_80": "Specificity at 80 % sensitivity",
    "specificity_at_90": "Specificity at 90 % sensitivity",
    "specificity_at_95": "Specificity at 95 % sensitivity",
    "calibration_error": "Calibration error (ECE)",
}
DECISIONS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "cohen_kappa": "Cohen's kappa",
}
FEW = 20
"""Cases of a class under which the page warns at its top."""
UNCALIBRATED = ("auc", "average_precision", "accuracy", "sensitivity", "specificity")
COMPARED = {
    "enhanced_jaccard": "Jaccard index, final mask",
    "coarse_jaccard": "Jaccard index, coarse mask",
    "enhanced_thresholded_jaccard": "Thresholded Jaccard, final mask",
    "enhanced_pooled_jaccard": "Pooled Jaccard, final mask",
    "enhanced_dice": "Dice, final mask",
    "enhanced_boundary_distance": "Boundary distance, final mask, pixels",
    "mean_auc": "Mean AUC",
    **DECISIONS,
    "calibration_error": "Calibration error (ECE)",
}
GROUP_SCORES = {"jaccard": "Jaccard index", "mean_auc": "Mean AUC", "accuracy": "Accuracy"}
STRESS_SCORES = {"jaccard": "Jaccard", "mean_auc": "mean AUC", "calibration_error": "ECE"}
LEVELS = {"weak": "level-1", "medium": "level-2", "strong": "level-3"}
RELIABILITY = {
    "uncalibrated": "before calibration", "calibrated": "after calibration", "probabilities": "probabilities"
}  # fmt: skip

CONSTANTS = {
    "MASK_METRICS": MASK_METRICS,
    "PIXELS": PIXELS,
    "BY_RULE": BY_RULE,
    "CLASS_METRICS": CLASS_METRICS,
    "DECISIONS": DECISIONS,
    "UNCALIBRATED": UNCALIBRATED,
    "LEVELS": LEVELS,
}


def write_report(
    path: Path,
    summary: Mapping[str, Any],
    gallery: Sequence[GalleryCase],
    title: str,
    facts: Mapping[str, str],
    curves: Curves | None = None,
) -> None:
    """Write the report.

    Args:
        path: the HTML file.
        summary: what `scoring.summarise` returns.
        gallery: cases to show, under the headings of their groups.
        title: heading of the page.
        facts: provenance, such as model, data, protocol and version.
        curves: training curves to show.
    """
    style = resources.files("mbdcnn.evaluation.report").joinpath("report.css").read_text(encoding="utf-8")
    values = {
        **CONSTANTS,
        **{"charts": charts, "number": wording.number, "percent": percent, "interval": interval, "words": words},
        **{"title": title, "style": Markup(style), "facts": facts, "cautions": _cautions(summary, facts)},
        **{name: summary[name] for name in ("images", "bootstrap")},
        "per_cent": "Per cent, with 95 % intervals" if summary["bootstrap"]["samples"] else "Per cent",
        "headline": _headline(summary),
        "segmentation": _segmentation(summary),
        "classes": _classification(summary),
        "maps": summary.get("activation_maps"),
        "comparison": _comparison(summary),
        "gallery": gallery,
        **legend(gallery),
        "groups": _groups(summary),
        "stress": _stress(summary),
        **_training(curves or {}),
    }
    path.write_text(render("mbdcnn.evaluation.report", "report.html.j2", values), encoding="utf-8")


def _cautions(summary: Mapping[str, Any], facts: Mapping[str, str]) -> list[str]:
    few = {name: cases for name, cases in summary["images"]["per_class"].items() if 0 < cases < FEW}
    if not few or not summary["classification"]:
        return [facts["caution"]] if "caution" in facts else []
    named = " and ".join(f"{cases} of {words(name)}" for name, cases in few.items())
    said = f"Only {named}: under {FEW} cases a score of the class says little, and its interval is too narrow"
    return [*([facts["caution"]] if "caution" in facts else []), said]


def _headline(summary: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    if segmentation := summary["segmentation"]:
        jaccards = {network: segmentation[network]["jaccard"] for network in NETWORKS if segmentation[network]}
        rows = [(NETWORKS[network], charts.network_style(network), jaccard) for network, jaccard in jaccards.items()]
        gain = segmentation["difference"] and segmentation["difference"]["jaccard"]
        text = f"Difference (final - coarse): {_points(gain)}." if gain else ""
        # The last one present is the final mask, unless there are coarse masks only.
        yield _headline_card("Jaccard index, mean over images", list(jaccards.values())[-1], rows, text)
    if classification := summary["classification"]:
        areas = {words(name): of_class["auc"] for name, of_class in classification["classes"].items()}
        rows = [(f"AUC, {name}", "plain", area) for name, area in areas.items()]
        missing = ", ".join(name for name, area in areas.items() if area is None)
        text = f"Not applicable here, and left out of the mean: {missing}." if missing else ""
        yield _headline_card("Mean AUC, one class against the rest", classification["mean_auc"], rows, text)


def _headline_card(
    title: str, estimate: Estimate | None, rows: Sequence[tuple[str, str, Estimate | None]], text: str
) -> dict[str, Any]:
    drawn = [
        charts.IntervalRow(row, style, shown["value"], shown["low"], shown["high"])
        for row, style, shown in rows
        if shown
    ]
    chart = charts.interval_chart(drawn, title) if drawn else ""
    return {"title": title, "estimate": estimate, "chart": chart, "text": text}


def _points(gain: Estimate) -> str:
    bounds = f" (95 % interval {interval(gain, signed=True)})" if gain["low"] is not None else ""
    return f"{percent(gain['value'], signed=True)} points{bounds}"


def _segmentation(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    scores = summary["segmentation"]
    if not scores:
        return None
    networks = {key: name for key, name in NETWORKS.items() if scores[key]}
    last, bins = list(networks)[-1], scores["jaccard_histogram"]
    return {
        "scores": scores,
        "columns": networks | ({"difference": "Difference (final - coarse)"} if scores["difference"] else {}),
        "histogram": charts.histogram(bins["edges"], {key: bins[key] for key in networks}, "Jaccard index"),
        "legend": [(name, charts.network_style(key)) for key, name in networks.items()],
        "last": scores[last],
        "last_name": NETWORKS[last],
        "rules_differ": any(scores[last][metric] != scores[last][f"{metric}_official"] for metric in BY_RULE),
    }


def _classification(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    found, images = summary["classification"], summary["images"]
    if not found:
        return None
    curves = {
        kind: {name: curve for name, curve in found[kind].items() if curve} for kind in ("roc", "precision_recall")
    }
    errors = {head: found["calibration"][head]["calibration_error"] for head in found["calibration"]}
    return {
        "heads": [f"{words(name)} ({of_class['cases']})" for name, of_class in found["classes"].items()],
        "scores": list(found["classes"].values()),
        "uncalibrated": found.get("uncalibrated"),
        **{kind: {words(name): curve for name, curve in drawn.items()} for kind, drawn in curves.items()},
        "prevalences": [
            images["per_class"][name] / max(1, images["with_label"]) for name in curves["precision_recall"]
        ],
        "confusion": found["confusion_truth_by_decision"],
        "reliability": {
            name: found["reliability"][key] for key, name in RELIABILITY.items() if key in found["reliability"]
        },
        "errors": {head: errors[head] for head in ("before", "after", "difference")}
        if "before" in errors
        else {"": errors["after"]},
        "operating_points": found["operating_points"],
        "marks": _marks(found["operating_points"], curves["roc"]),
        "overall": found,
        "one_bin": all(len(points) == 1 for points in found["reliability"].values()),
    }


def _marks(points: Sequence[Mapping[str, Any]], drawn: Mapping[str, Any]) -> list[tuple[str, float, float, str]]:
    """Place the operating points on the ROC curves."""
    return [
        (
            words(point["class"]),
            1 - point["specificity"]["value"],
            point["sensitivity"]["value"],
            f"{percent(point['threshold'])} % and more",
        )
        for point in points
        if point["class"] in drawn
    ]


def _comparison(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    found = summary.get("comparison")
    if not found:
        return None
    areas = {f"{name}_auc": f"AUC, {words(name)}" for name in summary["images"]["per_class"]}
    parts = [PurePath(found[f"{side}_name"]).parts for side in ("first", "second")]
    shared = 0
    while shared < min(map(len, parts)) and parts[0][-shared - 1] == parts[1][-shared - 1]:
        shared += 1
    # As many last parts of a path as tell it from the other.
    first, second = (str(PurePath(*each[-shared - 1 :])) for each in parts)
    rows = {score: name for score, name in (COMPARED | areas).items() if score in found["difference"]}
    return {**found, "rows": rows, "first_short": first, "second_short": second}


def _groups(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    groupings = summary["groups"]
    present = [key for key in GROUP_SCORES if any(group[key] for each in groupings for group in each["groups"])]
    if not present:
        return None
    heads = ["images", *(GROUP_SCORES[key] for key in present)]
    heads[2:2] = ["drawn, 0 to 100"] if "jaccard" in present else []
    return {"groupings": groupings, "present": present, "heads": heads}


def _stress(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    found, classes = summary.get("stress"), list(summary["images"]["per_class"])[1:]
    if not found:
        return None
    shown = {score: name for score, name in STRESS_SCORES.items() if found["clean"][score]}
    moved = [each for each in found["counterfactuals"] if each["images"]]
    areas = {"mean_auc": "Mean AUC", **{f"{name}_auc": f"AUC, {words(name)}" for name in classes}}
    return {
        **found,
        "shown": shown,
        "plots": {name: _changes(found["corruptions"], score, name) for score, name in shown.items()},
        "heads": [f"{name}, {level}" for name in shown.values() for level in LEVELS],
        "moved": moved,
        "moved_heads": [f"{each['name']}, {each['images']} images" for each in moved],
        "areas": areas if all("auc_change" in each for each in moved) else {},
    }


def _changes(corruptions: Sequence[Mapping[str, Any]], score: str, name: str) -> str:
    rows = {
        corruption["name"]: [
            charts.IntervalRow(style, style, change["value"], change["low"], change["high"])
            for style, level in zip(LEVELS.values(), corruption["levels"], strict=True)
            if (change := level["difference"][score])
        ]
        for corruption in corruptions
    }
    return charts.degradation_chart(rows, f"Change of {name} in points")


def _training(curves: Curves) -> dict[str, Any]:
    """Give the curves that can be drawn, without values such as a loss that became NaN; a single point in words."""
    drawn: dict[str, dict[str, list[tuple[int | float, float]]]] = {}
    single = []
    for title, series in curves.items():
        for name, points in series.items():
            finite = [point for point in points if isfinite(point[1])]
            if len(finite) > 1:
                drawn.setdefault(title, {})[name] = finite
            single += [f"{title}, {name}: {value:.4g} at step {step}" for step, value in finite if len(finite) == 1]
    return {"curves": drawn, "single": single}
