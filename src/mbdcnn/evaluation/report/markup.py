"""Pieces of the page: tables, cells, legends, cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mbdcnn.evaluation.report import charts
from mbdcnn.evaluation.report.wording import Estimate, interval, number


def cell(estimate: Estimate | None, signed: bool = False, scale: float = 100) -> str:
    """Show an estimate over its interval."""
    if not estimate:
        return '<td class="none">not applicable</td>'
    bounds = interval(estimate, signed, scale)
    return f"<td><b>{number(estimate['value'], signed, scale)}</b><small>{bounds}</small></td>"


def row(name: str, cells: Iterable[str]) -> str:
    """Put cells behind a name."""
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'


def table(heads: Sequence[str], rows: Iterable[str], caption: str, kind: str = "") -> str:
    """Put rows under heads; a table too wide for the page scrolls."""
    cells = "".join(f'<th scope="col">{escape(head)}</th>' if head else "<td></td>" for head in heads)
    return (
        f'<div class="scroll"><table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def in_per_cent(summary: Mapping[str, Any]) -> str:
    """Say what the cells of a table hold."""
    return "Per cent, with 95 % intervals" if summary["bootstrap"]["samples"] else "Per cent"


def note(text: str) -> str:
    """Set a remark in small print."""
    return f'<p class="note">{escape(text)}</p>'


def card(content: str, title: str = "", wide: bool = False) -> str:
    """Frame a table."""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="card{" wide" * wide}">{heading}{content}</div>'


def figure(title: str, chart: str) -> str:
    """Frame a chart under its title."""
    return f'<figure class="card"><h3>{escape(title)}</h3>{chart}</figure>'


def stack(*cards: str) -> str:
    """Put cards one below the other in one column."""
    return f'<div class="stack">{"".join(cards)}</div>'


def section(title: str, *cards: str, before: str = "", kind: str = "columns") -> str:
    """Put cards under a heading, side by side where there is room."""
    return f'<section><h2>{escape(title)}</h2>{before}<div class="{kind}">{"".join(cards)}</div></section>'


def legend(styles: Mapping[str, str]) -> str:
    """Name colours."""
    items = "".join(f'<li class="{style}"><i></i>{escape(name)}</li>' for name, style in styles.items())
    return f'<ul class="legend">{items}</ul>'


def series_legend(series: Iterable[str]) -> str:
    """Name the colours of curves in their order."""
    return legend({name: charts.series_style(place) for place, name in enumerate(series)})


def network_style(network: str) -> str:
    """Name the colour of a network's masks."""
    return "final" if network == "enhanced" else "coarse"
