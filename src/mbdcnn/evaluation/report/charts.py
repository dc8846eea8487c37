"""Charts as inline SVG: coloured by the page's style sheet, so they follow its light and dark modes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple, TypeAlias

from markupsafe import Markup

WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 44
ROW = 46

Number: TypeAlias = int | float
Points: TypeAlias = Sequence[Sequence[Number]]


LABEL_WIDTH, LABEL_LINE = 105, 15
"""What a dot's label takes at most."""


class Axes(NamedTuple):
    """The data range of a chart, mapped onto its frame."""

    x_low: Number
    x_high: Number
    y_low: Number
    y_high: Number

    def x(self, value: Number, left: Number = LEFT) -> float:
        """Map a value to a horizontal position in the drawing."""
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return round(left + share * (WIDTH - left - RIGHT), 2)

    def y(self, value: Number) -> float:
        """Map a value to a vertical position in the drawing."""
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 2)


class IntervalRow(NamedTuple):
    """One line of an interval chart: a point, and its interval where there is one."""

    name: str
    style: str
    value: Number
    low: Number | None
    high: Number | None


def line_chart(curves: Mapping[str, Points], title: str, x_label: str) -> str:
    """Draw curves, points (x, y) by the curve's name."""
    axes = _around(curves)
    return _svg(title, _frame(axes, x_label, "") + _curves(axes, curves))


def roc_chart(curves: Mapping[str, Points], marks: Sequence[tuple[str, Number, Number, str]] = ()) -> str:
    """Draw ROC curves over the diagonal of chance, and operating points on them.

    Args:
        curves: points (1 - specificity, sensitivity) by the curve's name.
        marks: of each operating point the curve's name, 1 - specificity, sensitivity and a label.
    """
    axes, names = Axes(0, 1, 0, 1), list(curves)
    # From the right: what lies further to the left on such a curve lies lower, where its label may be moved.
    marks = sorted(marks, key=lambda mark: -mark[1])
    places = _beside([(axes.x(x) + 9, axes.y(y) + 16) for _, x, y, _ in marks])
    drawn = "".join(
        f'<g class="mark {series_style(names.index(name))}"><circle cx="{axes.x(x)}" cy="{axes.y(y)}" r="5.5"/>'
        f'<text x="{left}" y="{line}">{escape(label)}</text></g>'
        for (name, x, y, label), (left, line) in zip(marks, places, strict=True)
    )
    return _unit_chart("ROC curves", curves, "1 \N{MINUS SIGN} specificity", "sensitivity", [[(0, 0), (1, 1)]], drawn)


def _beside(wanted: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Move labels down, a line at a time, until none lies on an earlier one."""
    placed: list[tuple[float, float]] = []
    for left, line in wanted:
        while any(abs(left - x) < LABEL_WIDTH and abs(line - y) < LABEL_LINE for x, y in placed):
            line += LABEL_LINE
        placed.append((left, line))
    return placed


def precision_recall_chart(curves: Mapping[str, Points], prevalences: Sequence[Number]) -> str:
    """Draw precision over recall, and dashed the precision of chance, the class's prevalence."""
    axes = Axes(0, 1, 0, 1)
    lines = "".join(
        f'<polyline class="prevalence {series_style(number)}" points="{_path(axes, [(0, share), (1, share)])}"/>'
        for number, share in enumerate(prevalences)
    )
    return _unit_chart("Precision-recall curves", curves, "recall (sensitivity)", "precision", [], lines)


def reliability_chart(series: Mapping[str, Points]) -> str:
    """Draw the share that is right over the confidence, from points (confidence, share, images that size the dot)."""
    axes = Axes(0, 1, 0, 1)
    most = max((images for points in series.values() for *_, images in points), default=1)
    dots = "".join(
        f'<circle class="{series_style(number)}" cx="{axes.x(x)}" cy="{axes.y(y)}" r="{radius:.1f}"/>'
        for number, points in enumerate(series.values())
        for x, y, images in points
        for radius in [2 + 6 * math.sqrt(images / most)]
    )
    lines = {name: [point[:2] for point in points] for name, points in series.items()}
    return _unit_chart("Reliability diagram", lines, "confidence", "share that is right", [[(0, 0), (1, 1)]], dots)


def degradation_chart(rows: Mapping[str, Sequence[IntervalRow]], title: str) -> str:
    """Draw differences in points by group, the levels of a group one below the other, over a line at 0."""
    drawn = [row for levels in rows.values() for row in levels]
    bounds = [0.0, *(bound for row in drawn for bound in (row.value, row.low, row.high) if bound is not None)]
    margin = max(0.005, 0.04 * (max(bounds) - min(bounds)))
    left, gap, group = 104, 11, 3 * 11 + 12
    height = group * len(rows) + 30
    axes = Axes(min(bounds) - margin, max(bounds) + margin, 0, 1)
    grid = "".join(
        f'<line class="{"axis" if tick == 0 else "grid"}" x1="{x}" x2="{x}" y1="0" y2="{height - 24}"/>'
        f'<text x="{x}" y="{height - 7}" text-anchor="middle">{_number(100 * tick)}</text>'
        for tick in ticks(axes.x_low, axes.x_high, 4)
        for x in [axes.x(tick, left)]
    )
    body = "".join(
        f'<text x="0" y="{group * number + 27}" class="name">{escape(name)}</text>'
        + "".join(_dot(axes, row, group * number + 12 + gap * place, left) for place, row in enumerate(levels))
        for number, (name, levels) in enumerate(rows.items())
    )
    return _svg(title, grid + body, height)


def histogram(edges: Sequence[Number], counts: Mapping[str, Sequence[int]], x_label: str) -> str:
    """Draw counts by bin: `enhanced` as bars, any other as the line along its bars' tops."""
    highest = max(1, *(count for heights in counts.values() for count in heights))
    axes = Axes(edges[0], edges[-1], 0, highest)
    bars = "".join(
        f'<rect class="bar {network_style(name)}" x="{axes.x(low) + 1:.2f}" y="{axes.y(count)}"'
        f' width="{axes.x(high) - axes.x(low) - 2:.2f}" height="{axes.y(0) - axes.y(count):.2f}"/>'
        for name, heights in counts.items()
        if name == "enhanced"
        for low, high, count in zip(edges[:-1], edges[1:], heights, strict=True)
    )
    steps = "".join(
        f'<polyline class="curve {network_style(name)}" points="{_path(axes, _steps(edges, heights))}"/>'
        for name, heights in counts.items()
        if name != "enhanced"
    )
    return _svg(f"Histogram of {x_label}", _frame(axes, x_label, "images") + bars + steps)


def interval_chart(rows: Sequence[IntervalRow], title: str) -> str:
    """Draw each value as a dot on its interval, all on one axis in per cent."""
    bounds = [bound for row in rows for bound in (row.value, row.low, row.high) if bound is not None]
    margin = max(0.01, 0.1 * (max(bounds) - min(bounds)))
    height = ROW * len(rows) + 26
    axes = Axes(max(0, min(bounds) - margin), min(1, max(bounds) + margin), 0, 1)
    grid = "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height - 22}"/>'
        f'<text x="{x}" y="{height - 6}" text-anchor="middle">{_number(100 * tick)}</text>'
        for tick in ticks(axes.x_low, axes.x_high, 4)
        for x in [axes.x(tick, RIGHT)]
    )
    drawn = "".join(_interval(axes, row, ROW * number) for number, row in enumerate(rows))
    return _svg(title, grid + drawn, height)


def series_style(number: int) -> str:
    """Name the colour of a curve; the style sheet has five."""
    return f"series-{number % 5}"


def network_style(network: str) -> str:
    """Name the colour of a network's masks."""
    return "final" if network == "enhanced" else "coarse"


def ticks(low: Number, high: Number, count: int = 5) -> list[Number]:
    """Choose about `count` round numbers from low to high."""
    rough = (high - low) / count
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _interval(axes: Axes, row: IntervalRow, top: int) -> str:
    middle, whisker = top + 30, ""
    if row.low is not None and row.high is not None:
        low, high = axes.x(row.low, RIGHT), axes.x(row.high, RIGHT)
        whisker = f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
    return (
        f'<g class="{row.style}"><text x="0" y="{top + 16}">{escape(row.name)}</text>{whisker}'
        f'<circle cx="{axes.x(row.value, RIGHT)}" cy="{middle}" r="5.5"/></g>'
    )


def _dot(axes: Axes, row: IntervalRow, y: float, left: int) -> str:
    whisker = ""
    if row.low is not None and row.high is not None:
        low, high = axes.x(row.low, left), axes.x(row.high, left)
        whisker = f'<line class="whisker thin" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
    return f'<g class="{row.style}">{whisker}<circle cx="{axes.x(row.value, left)}" cy="{y}" r="3.6"/></g>'


def _unit_chart(
    title: str, curves: Mapping[str, Points], x_label: str, y_label: str, dashed: Sequence[Points], over: str = ""
) -> str:
    """Draw curves between 0 and 1 on both axes."""
    axes = Axes(0, 1, 0, 1)
    lines = "".join(f'<polyline class="chance" points="{_path(axes, points)}"/>' for points in dashed)
    return _svg(title, _frame(axes, x_label, y_label) + lines + _curves(axes, curves) + over)


def _around(curves: Mapping[str, Points]) -> Axes:
    """Fit the points, widening a range of no width; downwards, for a score that stays at 1 cannot rise."""
    x, y = zip(*(point for points in curves.values() for point in points), strict=True)
    return Axes(min(x), max(*x, min(x) + 1), min(y) if max(y) > min(y) else max(y) - 0.1, max(y))


def _curves(axes: Axes, curves: Mapping[str, Points]) -> str:
    return "".join(
        f'<polyline class="curve {series_style(number)}" points="{_path(axes, points)}"/>'
        for number, points in enumerate(curves.values())
    )


def _frame(axes: Axes, x_label: str, y_label: str) -> str:
    left, right, low, high = axes.x(axes.x_low), axes.x(axes.x_high), axes.y(axes.y_low), axes.y(axes.y_high)
    lines = "".join(
        f'<line class="grid" x1="{left}" x2="{right}" y1="{axes.y(tick)}" y2="{axes.y(tick)}"/>'
        f'<text x="{left - 7}" y="{axes.y(tick) + 4}" text-anchor="end">{_number(tick)}</text>'
        for tick in ticks(axes.y_low, axes.y_high)
    )
    numbers = "".join(
        f'<text x="{axes.x(tick)}" y="{low + 17}" text-anchor="middle">{_number(tick)}</text>'
        for tick in ticks(axes.x_low, axes.x_high)
    )
    labels = (
        f'<text class="label" x="{(left + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}'
        f'</text><text class="label" transform="translate(13 {(low + high) / 2}) rotate(-90)"'
        f' text-anchor="middle">{escape(y_label)}</text>'
    )
    return f'{lines}{numbers}{labels}<line class="axis" x1="{left}" x2="{right}" y1="{low}" y2="{low}"/>'


def _svg(title: str, body: str, height: int = HEIGHT) -> str:
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _path(axes: Axes, points: Points) -> str:
    return " ".join(f"{axes.x(x)},{axes.y(y)}" for x, y in points)


def _steps(edges: Sequence[Number], heights: Sequence[int]) -> list[tuple[Number, Number]]:
    corners = [(edge, height) for i, height in enumerate(heights) for edge, height in
               ((edges[i], height), (edges[i + 1], height))]  # fmt: skip
    return [(edges[0], 0), *corners, (edges[-1], 0)]


def _number(value: Number) -> str:
    if abs(value) >= 1000 and value % 100 == 0:
        return f"{value / 1000:g}k"
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
