"""The report: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any

from mbdcnn.evaluation.report import charts
from mbdcnn.evaluation.report.gallery import GalleryCase, gallery_section
from mbdcnn.evaluation.report.markup import figure, network_style, section, series_legend
from mbdcnn.evaluation.report.robustness import (
    activation_section,
    comparison_section,
    groups_section,
    stress_section,
)
from mbdcnn.evaluation.report.scores import NETWORKS, calibration_section, classification_section, segmentation_section
from mbdcnn.evaluation.report.training_runs import Curves
from mbdcnn.evaluation.report.wording import Estimate, class_name, interval, percent


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
    sections = [
        _headline(summary),
        segmentation_section(summary),
        classification_section(summary),
        calibration_section(summary),
        activation_section(summary),
        comparison_section(summary),
        gallery_section(gallery),
        groups_section(summary),
        stress_section(summary),
        _curves(curves or {}),
        _provenance(summary, facts),
    ]
    template = resources.files("mbdcnn.evaluation.report")
    page = Template((template / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=(template / "report.css").read_text(encoding="utf-8"),
        lead=_lead(summary["images"]),
        caution=_caution(facts),
        sections="\n".join(section for section in sections if section),
    )
    path.write_text(page, encoding="utf-8")


def _caution(facts: Mapping[str, str]) -> str:
    return f'<p class="caution"><b>Caution.</b> {escape(facts["caution"])}.</p>' if "caution" in facts else ""


def _lead(images: Mapping[str, Any]) -> str:
    classes = ", ".join(f"{count} {class_name(name)}" for name, count in images["per_class"].items() if count)
    labels = f", {images['with_label']} with a diagnosis ({classes})" if images["with_label"] else ""
    total = f"{images['total']} image{'' if images['total'] == 1 else 's'}"
    return escape(f"{total}: {images['with_mask']} with a mask{labels}.")


def _headline(summary: Mapping[str, Any]) -> str:
    segmentation, classification = summary["segmentation"], summary["classification"]
    cards = (_jaccard_card(segmentation) if segmentation else "") + (
        _auc_card(classification) if classification else ""
    )
    return f'<section class="columns" aria-label="Headline">{cards}</section>'


def _jaccard_card(segmentation: Mapping[str, Any]) -> str:
    jaccards = {network: segmentation[network]["jaccard"] for network in NETWORKS if segmentation[network]}
    rows = {NETWORKS[network]: (network_style(network), jaccard) for network, jaccard in jaccards.items()}
    gain = segmentation["difference"] and segmentation["difference"]["jaccard"]
    text = f"Final less coarse mask: {_points(gain)}." if gain else ""
    # The last one present is the final mask, unless there are coarse masks only.
    return _headline_card("Jaccard index, mean over images", list(jaccards.values())[-1], rows, text)


def _auc_card(classification: Mapping[str, Any]) -> str:
    classes = classification["classes"]
    rows = {f"AUC, {class_name(name)}": ("plain", of_class["auc"]) for name, of_class in classes.items()}
    return _headline_card(
        "Mean AUC, one class against the rest", classification["mean_auc"], rows, _missing_classes(classes)
    )


def _headline_card(
    name: str, estimate: Estimate | None, rows: Mapping[str, tuple[str, Estimate | None]], text: str
) -> str:
    drawn = [
        charts.IntervalRow(row, style, shown["value"], shown["low"], shown["high"])
        for row, (style, shown) in rows.items()
        if shown
    ]
    value = f"{percent(estimate['value'])}<small> %</small>" if estimate else "not applicable"
    bounds = f"95 % interval {interval(estimate)}" if estimate and estimate["low"] is not None else ""
    chart = charts.interval_chart(drawn, name) if drawn else ""
    return (
        f'<div class="card headline"><h3>{escape(name)}</h3><p class="value">{value}</p>'
        f'<p class="note">{bounds}</p>{chart}<p class="note">{escape(text)}</p></div>'
    )


def _points(gain: Estimate) -> str:
    bounds = f" (95 % interval {interval(gain, signed=True)})" if gain["low"] is not None else ""
    return f"{percent(gain['value'], signed=True)} points{bounds}"


def _missing_classes(classes: Mapping[str, Mapping[str, Any]]) -> str:
    missing = [class_name(name) for name, of_class in classes.items() if of_class["auc"] is None]
    return f"Not applicable here, and left out of the mean: {', '.join(missing)}." if missing else ""


def _curves(curves: Curves) -> str:
    figures = [
        figure(title, charts.line_chart(drawn, title, "step") + series_legend(drawn))
        for title, drawn in ((title, _finite(series)) for title, series in curves.items())
        if drawn
    ]
    return section("Training", *figures) if figures else ""


def _finite(series: Mapping[str, Sequence[tuple[int | float, float]]]) -> dict[str, list[tuple[int | float, float]]]:
    """Leave out what cannot be drawn, such as a loss that became NaN."""
    drawn = {name: [point for point in points if isfinite(point[1])] for name, points in series.items()}
    return {name: points for name, points in drawn.items() if points}


def _provenance(summary: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    bootstrap = summary["bootstrap"]
    intervals = (
        f"Intervals hold the middle 95 % of {bootstrap['samples']} bootstrap resamples by {bootstrap['unit']} "
        f"(seed {bootstrap['seed']}). They tell how far chance in the choice of images moves a score, no more."
        if bootstrap["samples"]
        else "No intervals were computed."
    )
    return (
        f'<section><h2>How this was made</h2><div class="card"><dl class="facts">{rows}</dl></div>'
        f'<p class="note" style="margin-top:14px">{intervals} Means leave out images for which a score is '
        "undefined, such as the sensitivity of an image without a lesion.</p></section>"
    )
