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
    for number, token in enumerate(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
        if token.type == "heading_open":
            token.attrSet("id", f"card-{_anchor(tokens[number + 1].content)}")
        for link in token.children or ():
            if str(link.attrGet("href")).startswith("#"):
                link.attrSet("href", f"#card-{str(link.attrGet('href'))[1:]}")
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def _anchor(heading: str) -> str:
    """Give a heading the name by which GitHub and the hub let links find it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
