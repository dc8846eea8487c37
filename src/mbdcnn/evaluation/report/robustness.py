"""Sections of the report on a second method, spoilt pictures and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import Any

from mbdcnn.evaluation.report import charts
from mbdcnn.evaluation.report.markup import card, cell, figure, in_per_cent, legend, note, row, section, table
from mbdcnn.evaluation.report.wording import Estimate, class_name, percent

COMPARED = {
    "enhanced_jaccard": "Jaccard index, final mask",
    "coarse_jaccard": "Jaccard index, coarse mask",
    "enhanced_thresholded_jaccard": "Thresholded Jaccard, final mask",
    "enhanced_pooled_jaccard": "Pooled Jaccard, final mask",
    "enhanced_dice": "Dice, final mask",
    "enhanced_boundary_distance": "Boundary distance, final mask, pixels",
    "mean_auc": "Mean AUC",
    "accuracy": "Right decisions",
    "calibration_error": "Calibration error (ECE)",
}
STRESS_SCORES = {"jaccard": "Jaccard", "mean_auc": "mean AUC", "calibration_error": "ECE"}
LEVELS = {"weak": "level-1", "medium": "level-2", "strong": "level-3"}
SKIN_CAVEAT = (
    "Skin tone is the individual typology angle (ITA) of the skin round the lesion, without dark corners, ink and hair."
    " It depends on camera and light, methods to measure it disagree, and it is no substitute for a person's own skin "
    "type. ISIC-2017 holds mostly light skin: what a score here says of other skin is little or nothing."
)


def comparison_section(summary: Mapping[str, Any]) -> str:
    """Show two methods side by side."""
    comparison = summary.get("comparison")
    if not comparison:
        return ""
    areas = {f"{name}_auc": f"AUC, {class_name(name)}" for name in summary["images"]["per_class"]}
    rows = [
        row(
            name,
            (
                cell(comparison[side][score], side == "difference", 1 if "boundary" in score else 100)
                for side in ("first", "second", "difference")
            ),
        )
        for score, name in (COMPARED | areas).items()
        if score in comparison["difference"]
    ]
    first, second = (_short(comparison[f"{side}_name"], comparison) for side in ("first", "second"))
    text = (
        f"A is {comparison['first_name']}, B is {comparison['second_name']}, on the same images and resamples. Where "
        f"the difference's interval holds 0, chance in the choice of images may explain it. B's final mask has the "
        f"higher Jaccard on {comparison['images_better']} images and the lower on {comparison['images_worse']}."
    )
    heads = ["", f"A: {first}", f"B: {second}", "B less A"]
    return section("Comparison", card(table(heads, rows, in_per_cent(summary)) + note(text), wide=True))


def activation_section(summary: Mapping[str, Any]) -> str:
    """Show whether the classifier's activation maps lie on the lesions."""
    found = summary.get("activation_maps")
    if not found:
        return ""
    names = {
        "cam_energy_inside": ("Energy inside the lesion", "lesion_share"),
        "cam_pointing_game": ("Peak inside the lesion (pointing game)", "lesion_share"),
        "cam_pointing_game_near": ("Peak inside or within a cell of the map", "near_share"),
    }
    rows = [
        row(
            name,
            (
                cell(found[of][average]) if average in found[score] else "<td></td>"
                for average in ("mean", "median")
                for of in (score, chance)
            ),
        )
        for score, (name, chance) in names.items()
    ]
    text = (
        f"The activation map of the class that mask-CN predicts from the whole image, clipped at 0, against the true "
        f"lesion in {found['images']} images. Chance is what an even map or a random peak would give: the share of the "
        f"image that the lesion covers, or that is near enough. {found['without_positive_values']} maps have no "
        "positive value; they count as 0 and as misses."
    )
    heads = ["", "mean", "mean by chance", "median", "median by chance"]
    return section("Where the classifier looks", card(table(heads, rows, in_per_cent(summary)) + note(text), wide=True))


def stress_section(summary: Mapping[str, Any]) -> str:
    """Show what spoilt pictures cost."""
    stress = summary.get("stress")
    if not stress:
        return ""
    shown = {score: name for score, name in STRESS_SCORES.items() if stress["clean"][score]}
    clean = ", ".join(f"{name} {percent(stress['clean'][score]['value'])}" for score, name in shown.items())
    text = (
        f"{stress['images']} images, spoilt in 12 ways at 3 strengths and looked at once each (protocol fast) at the "
        f"size at which they are kept. Clean, so looked at: {clean}. All else is the change from there, in points, "
        "with its 95 % interval. Artefacts are drawn, not photographed: the order of things is worth more than the "
        "numbers."
    )
    plots = [figure(f"Change of {name}", _falls(stress, score, name)) for score, name in shown.items()]
    heads = ["", *(f"{name}, {level}" for name in shown.values() for level in LEVELS)]
    rows = [
        row(
            corruption["name"],
            (cell(level["difference"][score], signed=True) for score in shown for level in corruption["levels"]),
        )
        for corruption in stress["corruptions"]
    ]
    numbers = card(table(heads, rows, "Change in points, with 95 % intervals", "dense"), "All numbers", wide=True)
    moved = _counterfactuals(stress, list(summary["images"]["per_class"])[1:], summary)
    return section("Stress test", *plots, numbers, moved, before=note(text), kind="columns narrow")


def _counterfactuals(stress: Mapping[str, Any], classes: Sequence[str], summary: Mapping[str, Any]) -> str:
    """Show how far answers move when all but the lesion changes."""
    shown = [each for each in stress["counterfactuals"] if each["images"]]
    if not shown:
        return ""
    rows = [row("Decision changes", (cell(each["decisions_changed"]) for each in shown))]
    for name in classes:
        title = f"Probability of {class_name(name)}"
        rows += [
            row(f"{title}, mean amount", (cell(each["probability_change"][name]) for each in shown)),
            row(f"{title}, in its cases", (cell(each["probability_change_of_cases"][name], True) for each in shown)),
        ]
    areas = {"mean_auc": "Mean AUC", **{f"{name}_auc": f"AUC, {class_name(name)}" for name in classes}}
    rows += [
        row(title, (cell(each["auc_change"][name], True) for each in shown))
        for name, title in areas.items()
        if all("auc_change" in each for each in shown)
    ]
    text = (
        "Changes in points, but for the share of decisions that change. A coloured disc is pasted beside the lesion; "
        "or the lesion, by its true mask and with a fading rim, is put on the skin of another of these images. The "
        "lesion stays as it is, and so should the answers."
    )
    heads = ["", *(f"{each['name']}, {each['images']} images" for each in shown)]
    return card(table(heads, rows, in_per_cent(summary)) + note(text), "What is not the lesion changes", wide=True)


def _falls(stress: Mapping[str, Any], score: str, name: str) -> str:
    rows = {
        corruption["name"]: [
            charts.IntervalRow(style, style, fall["value"], fall["low"], fall["high"])
            for style, level in zip(LEVELS.values(), corruption["levels"], strict=True)
            if (fall := level["difference"][score])
        ]
        for corruption in stress["corruptions"]
    }
    return charts.fall_chart(rows, f"Change of {name} in points") + legend(LEVELS)


def groups_section(summary: Mapping[str, Any]) -> str:
    """Show every group, the smallest too."""
    groupings = summary["groups"]
    shown = {"jaccard": "Jaccard index", "mean_auc": "Mean AUC", "accuracy": "Right decisions"}
    present = [key for key in shown if any(group[key] for grouping in groupings for group in grouping["groups"])]
    if not present:
        return ""
    drawn = ["drawn, 0 to 100"] if "jaccard" in present else []
    heads = ["", "images", *(shown[key] for key in present)]
    heads[3:3] = drawn
    rows = [line for grouping in groupings for line in _grouping_rows(grouping, present, len(heads))]
    text = (
        "Small groups are shown, with their intervals. Under about ten images an interval is itself too narrow to "
        "trust. A mean AUC is over the classes that the group has cases of, so it compares groups only where they have "
        "the same."
    )
    content = table(heads, rows, in_per_cent(summary), "groups") + note(text) + note(SKIN_CAVEAT)
    return section("Groups", card(content, wide=True))


def _grouping_rows(grouping: Mapping[str, Any], present: Sequence[str], columns: int) -> list[str]:
    head = f'<tr class="grouping"><th scope="rowgroup" colspan="{columns}">By {escape(grouping["name"])}</th></tr>'
    return [head, *(_group_row(group, present) for group in grouping["groups"])]


def _group_row(group: Mapping[str, Any], present: Sequence[str]) -> str:
    cells = [f"<td><b>{group['images']}</b></td>"]
    for key in present:
        cells.append(cell(group[key]))
        if key == "jaccard":
            cells.append(f"<td>{_range(group[key])}</td>")
    return row(class_name(group["name"]), cells)


def _range(estimate: Estimate | None) -> str:
    """Draw an estimate and its interval from 0 to 100."""
    if not estimate or estimate["low"] is None:
        return ""
    low, value, high = (100 * estimate[key] for key in ("low", "value", "high"))
    bar = f'<i style="left:{low:.1f}%;width:{high - low:.1f}%"></i><i class="dot" style="left:{value:.1f}%"></i>'
    return f'<span class="range">{bar}</span>'


def _short(name: str, comparison: Mapping[str, Any]) -> str:
    """Give as many last parts of a path as tell it from the other."""
    first, second = (PurePath(comparison[f"{side}_name"]).parts for side in ("first", "second"))
    shared = 0
    while shared < min(len(first), len(second)) and first[-shared - 1] == second[-shared - 1]:
        shared += 1
    return str(PurePath(*PurePath(name).parts[-shared - 1 :]))
