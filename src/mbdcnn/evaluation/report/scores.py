"""Sections of the report on masks and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mbdcnn.evaluation.report import charts
from mbdcnn.evaluation.report.markup import (
    card,
    cell,
    figure,
    in_per_cent,
    legend,
    network_style,
    note,
    row,
    section,
    series_legend,
    stack,
    table,
)
from mbdcnn.evaluation.report.wording import class_name, number

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
BY_RULE = {"jaccard": "Jaccard index", "thresholded_jaccard": "Thresholded Jaccard", "dice": "Dice",
           "sensitivity": "Sensitivity", "specificity": "Specificity"}  # fmt: skip
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
UNCALIBRATED = ("auc", "average_precision", "accuracy", "sensitivity", "specificity")
PIXELS = {"boundary_distance"}


def segmentation_section(summary: Mapping[str, Any]) -> str:
    """Show the scores of masks."""
    segmentation = summary["segmentation"]
    if not segmentation:
        return ""
    present = {key: name for key, name in NETWORKS.items() if segmentation[key]}
    difference = {"difference": "Final less coarse"} if segmentation["difference"] else {}
    rows = [_mask_row(segmentation, metric, name, [*present, *difference]) for metric, name in MASK_METRICS.items()]
    scores = table(["", *present.values(), *difference.values()], rows, in_per_cent(summary))
    bins = segmentation["jaccard_histogram"]
    chart = charts.histogram(bins["edges"], {key: bins[key] for key in present}, "Jaccard index")
    colours = legend({name: network_style(key) for key, name in present.items()})
    text = (
        "Thresholded: a Jaccard below 65 counts as 0. Pooled: over the pixels of all images. Boundary distance: 95 % "
        "Hausdorff distance of the outlines, lower is better."
    )
    return section(
        "Segmentation",
        card(scores + note(text)),
        stack(figure("Jaccard index of the images", chart + colours), _rules(segmentation, list(present)[-1], summary)),
    )


def _mask_row(segmentation: Mapping[str, Any], metric: str, name: str, columns: Sequence[str]) -> str:
    scale = 1 if metric in PIXELS else 100
    return row(name, (cell(segmentation[key][metric], key == "difference", scale) for key in columns))


def _rules(segmentation: Mapping[str, Any], network: str, summary: Mapping[str, Any]) -> str:
    """Show both ways to count empty masks where they differ."""
    of_network = segmentation[network]
    if all(of_network[metric] == of_network[f"{metric}_official"] for metric in BY_RULE):
        return card(
            note(
                "No mask is empty or full here, so scores are the same whether 0/0 is left out, as the authors do, or "
                "counts as 1, as the official ISIC scorer has it."
            ),
            "Empty masks",
        )
    rows = [
        row(name, (cell(of_network[metric]), cell(of_network[f"{metric}_official"])))
        for metric, name in BY_RULE.items()
    ]
    heads = ["", "0/0 left out (authors)", "0/0 counts as 100 (official scorer)"]
    return card(
        table(heads, rows, in_per_cent(summary)) + note("They differ only where truth or prediction is empty or full."),
        f"Empty masks by both rules, {NETWORKS[network].lower()}",
    )


def classification_section(summary: Mapping[str, Any]) -> str:
    """Show the scores of classes."""
    classification, names = summary["classification"], list(summary["images"]["per_class"])
    if not classification:
        return ""
    classes = classification["classes"]
    rows = [row(name, (cell(of_class[key]) for of_class in classes.values())) for key, name in CLASS_METRICS.items()]
    heads = [f"{class_name(name)} ({of_class['cases']})" for name, of_class in classes.items()]
    text = (
        "Each class against all others; in brackets its number of cases. The decision is the most probable class. "
        "Specificity at a sensitivity goes by a threshold chosen on these very images, which flatters. Partial AUC: "
        "the part of the area above 80 % sensitivity, as the official scorer has it; 18 by chance."
    )
    return section(
        "Classification",
        stack(card(table(["", *heads], rows, in_per_cent(summary)) + note(text)), _uncalibrated(summary, heads)),
        stack(_roc(classification), _precision_recall(classification, summary["images"])),
        card(_confusion(classification["confusion_truth_by_decision"], names), "Confusion matrix", wide=True),
    )


def _uncalibrated(summary: Mapping[str, Any], heads: Sequence[str]) -> str:
    """Show what the authors' protocol scores, which knows no calibration."""
    plain = summary["classification"].get("uncalibrated")
    if not plain:
        return ""
    rows = [
        row(CLASS_METRICS[key], (cell(of_class[key]) for of_class in plain["classes"].values())) for key in UNCALIBRATED
    ]
    overall = row("Mean AUC", [cell(plain["mean_auc"]), *["<td></td>"] * (len(heads) - 1)])
    text = "The same scores from the networks' own probabilities, as the authors' protocol has them."
    return card(table(["", *heads], [*rows, overall], in_per_cent(summary)) + note(text), "Before calibration")


def calibration_section(summary: Mapping[str, Any]) -> str:
    """Show whether probabilities mean what they say, and what the operating points give."""
    classification = summary["classification"]
    if not classification:
        return ""
    errors, series = classification["calibration"], classification["reliability"]
    heads = {"before": "before", "after": "after", "difference": "difference"} if "before" in errors else {"after": ""}
    named = {"uncalibrated": "before calibration", "calibrated": "after calibration", "probabilities": "probabilities"}
    drawn = {named[key]: series[key] for key in named if key in series}
    colours = series_legend(drawn) if len(drawn) > 1 else ""
    cells = (cell(errors[key]["calibration_error"], key == "difference") for key in heads)
    text = (
        "ECE: how far the probability of the decision is from the share of right decisions, averaged over ten bins; "
        "lower is better. On the dashed line probabilities are right; below it they promise too much. "
    )
    if len(drawn) == 1:
        text += "These probabilities are not calibrated."
    scores = table(["", *heads.values()], [row("Calibration error (ECE)", cells)], in_per_cent(summary))
    return section(
        "Calibration",
        figure("Reliability of the decision's probability", charts.reliability_chart(drawn) + colours),
        card(scores + note(text)),
        _operating_points(classification["operating_points"], summary),
    )


def _operating_points(points: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    if not points:
        return card(
            note("None: this model has no thresholds of its own. See the specificity at fixed sensitivities above."),
            "Operating points",
            wide=True,
        )
    rows = [
        row(
            f"{point['name']}: {number(point['threshold'], scale=100)}\N{NO-BREAK SPACE}% and more",
            (cell(source[score]) for score in ("sensitivity", "specificity") for source in (point["promised"], point)),
        )
        for point in points
    ]
    heads = [
        "",
        "sensitivity, calibration images",
        "sensitivity, here",
        "specificity, calibration images",
        "specificity, here",
    ]
    return card(table(heads, rows, in_per_cent(summary)), "Operating points", wide=True)


def _roc(classification: Mapping[str, Any]) -> str:
    curves = {class_name(name): curve for name, curve in classification["roc"].items() if curve}
    return figure(
        "ROC curves", charts.roc_chart(curves) + series_legend(curves) if curves else "<p>Not applicable.</p>"
    )


def _precision_recall(classification: Mapping[str, Any], images: Mapping[str, Any]) -> str:
    curves = {name: curve for name, curve in classification["precision_recall"].items() if curve}
    if not curves:
        return ""
    shares = [images["per_class"][name] / max(1, images["with_label"]) for name in curves]
    drawn = {class_name(name): curve for name, curve in curves.items()}
    return figure("Precision-recall curves", charts.precision_recall_chart(drawn, shares) + series_legend(drawn))


def _confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    rows = [
        row(
            class_name(name),
            (_confusion_cell(count, sum(counts), place == at) for place, count in enumerate(counts)),
        )
        for at, (name, counts) in enumerate(zip(names, matrix, strict=True))
    ]
    caption = "A row is the true class, a column the decision; number of images and share of the row"
    return table(["", *map(class_name, names)], rows, caption, "confusion")


def _confusion_cell(count: int, total: int, right: bool) -> str:
    share = count / total if total else 0.0
    mark = ' class="right"' if right else ""
    return f'<td{mark} style="--share:{share:.3f}"><b>{count}</b><small>{escape(f"{100 * share:.0f} %")}</small></td>'
