"""The report: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any, TypeAlias

from mbdcnn.evaluation import charts
from mbdcnn.evaluation.gallery import GalleryCase, gallery_section
from mbdcnn.evaluation.wording import Estimate, class_name, interval, percent

Curves: TypeAlias = Mapping[str, Mapping[str, Sequence[tuple[int | float, float]]]]
"""Training curves: title of a chart, name of a curve, its points (optimiser step, value)."""

NETWORKS = {"coarse": "Coarse mask", "enhanced": "Final mask"}
MASK_METRICS = {
    "jaccard": "Jaccard index",
    "thresholded_jaccard": "Thresholded Jaccard",
    "pooled_jaccard": "Pooled Jaccard",
    "dice": "Dice",
    "accuracy": "Pixel accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
CLASS_METRICS = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
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
    sections = [
        _headline(summary),
        _segmentation(summary),
        _classification(summary),
        gallery_section(gallery),
        _curves(curves or {}),
        _provenance(summary, facts),
    ]
    template = resources.files("mbdcnn.evaluation") / "report_template"
    page = Template((template / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=(template / "report.css").read_text(encoding="utf-8"),
        lead=_lead(summary["images"]),
        sections="\n".join(section for section in sections if section),
    )
    path.write_text(page, encoding="utf-8")


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
    rows = {NETWORKS[network]: (_network_style(network), jaccard) for network, jaccard in jaccards.items()}
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


def _segmentation(summary: Mapping[str, Any]) -> str:
    segmentation = summary["segmentation"]
    if not segmentation:
        return ""
    present = {key: name for key, name in NETWORKS.items() if segmentation[key]}
    difference = {"difference": "Difference"} if segmentation["difference"] else {}
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(_cell(segmentation[key][metric]) for key in present)
        + "".join(_cell(segmentation[key][metric], signed=True) for key in difference)
        + "</tr>"
        for metric, name in MASK_METRICS.items()
    )
    table = _table(["", *present.values(), *difference.values()], rows, summary)
    bins = segmentation["jaccard_histogram"]
    chart = charts.histogram(bins["edges"], {key: bins[key] for key in present}, "Jaccard index")
    legend = _legend({name: _network_style(key) for key, name in present.items()})
    return (
        "<section><h2>Segmentation</h2>"
        f'<div class="columns"><div class="card">{table}'
        '<p class="note">Thresholded: a Jaccard below 65 counts as 0. Pooled: over the pixels of all images.</p>'
        "</div>"
        f'<figure class="card"><h3>Jaccard index of the images</h3>{chart}{legend}</figure></div></section>'
    )


def _classification(summary: Mapping[str, Any]) -> str:
    classification, names = summary["classification"], list(summary["images"]["per_class"])
    if not classification:
        return ""
    classes = classification["classes"]
    rows = "".join(
        f'<tr><th scope="row">{name}</th>' + "".join(_cell(of_class[metric]) for of_class in classes.values()) + "</tr>"
        for metric, name in CLASS_METRICS.items()
    )
    heads = [f"{class_name(name)} ({of_class['cases']})" for name, of_class in classes.items()]
    table = _table(["", *heads], rows, summary)
    curves = {class_name(name): curve for name, curve in classification["roc"].items() if curve}
    chart = charts.roc_chart(curves) + _series_legend(curves) if curves else "<p>Not applicable.</p>"
    return (
        '<section><h2>Classification</h2><div class="columns">'
        f'<div class="card">{table}<p class="note">Each class against all others; in '
        "brackets its number of cases. The decision is the most probable class.</p></div>"
        f'<figure class="card"><h3>ROC curves</h3>{chart}</figure>'
        f'<div class="card wide">{_confusion(classification["confusion_truth_by_decision"], names)}</div>'
        "</div></section>"
    )


def _confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    heads = "".join(f'<th scope="col">{escape(class_name(name))}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(class_name(name))}</th>'
        + "".join(_confusion_cell(count, sum(row), place == at) for place, count in enumerate(row))
        + "</tr>"
        for at, (name, row) in enumerate(zip(names, matrix, strict=True))
    )
    return (
        '<h3>Confusion matrix</h3><div class="scroll"><table class="confusion"><caption>A row is the true '
        "class, a column the decision; number of images and share of the row</caption>"
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _confusion_cell(count: int, total: int, right: bool) -> str:
    share = count / total if total else 0.0
    mark = ' class="right"' if right else ""
    return f'<td{mark} style="--share:{share:.3f}"><b>{count}</b><small>{100 * share:.0f} %</small></td>'


def _curves(curves: Curves) -> str:
    figures = "".join(
        f'<figure class="card"><h3>{escape(title)}</h3>'
        f"{charts.line_chart(drawn, title, 'step')}{_series_legend(drawn)}</figure>"
        for title, drawn in ((title, _finite(series)) for title, series in curves.items())
        if drawn
    )
    return f'<section><h2>Training</h2><div class="columns">{figures}</div></section>' if figures else ""


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


def _table(heads: Sequence[str], rows: str, summary: Mapping[str, Any]) -> str:
    caption = "Per cent, with 95 % intervals" if summary["bootstrap"]["samples"] else "Per cent"
    cells = "".join(f'<th scope="col">{escape(head)}</th>' if head else "<td></td>" for head in heads)
    return (
        f'<div class="scroll"><table><caption>{caption}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(estimate: Estimate | None, signed: bool = False) -> str:
    if not estimate:
        return '<td class="none">not applicable</td>'
    return f"<td><b>{percent(estimate['value'], signed)}</b><small>{interval(estimate, signed)}</small></td>"


def _legend(styles: Mapping[str, str]) -> str:
    items = "".join(f'<li class="{style}"><i></i>{escape(name)}</li>' for name, style in styles.items())
    return f'<ul class="legend">{items}</ul>'


def _series_legend(series: Mapping[str, Any]) -> str:
    return _legend({name: charts.series_style(number) for number, name in enumerate(series)})


def _network_style(network: str) -> str:
    return "final" if network == "enhanced" else "coarse"
