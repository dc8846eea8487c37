"""Pages and cards filled from templates that lie beside the code that fills them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(package: str, name: str, values: Mapping[str, Any]) -> str:
    """Fill a template; in HTML every value is escaped that is not `Markup`, and a missing one is an error.

    Args:
        package: where the template lies, such as `mbdcnn.evaluation.report`.
        name: file name of the template.
        values: names that it uses.
    """
    return _environment(package).get_template(name).render(values)


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
