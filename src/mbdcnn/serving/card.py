"""The model's card as HTML, for the page."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

from mbdcnn.artifacts import Bundle

MOST = 200_000
"""Characters of a card that are shown."""
HEADER = re.compile(r"\A---\n.*?\n---\n", re.S)
"""What is at the top for the hub's machines."""


def card(bundle: Bundle) -> str:
    """Give a bundle's card, headings one level lower; nothing if it has none.

    HTML in it is shown as text, and images are left out, for a card may be anybody's.
    """
    file = bundle.path / "README.md"
    # In a bundle of somebody else it might lead to any file of the user's.
    if file.is_symlink() or not file.is_file():
        return ""
    text = HEADER.sub("", file.read_text(encoding="utf-8", errors="replace")[:MOST])
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = markdown.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return str(markdown.renderer.render(tokens, markdown.options, {}))
