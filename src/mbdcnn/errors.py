"""The one exception a user is meant to read."""

from __future__ import annotations

LONGEST = 1500
"""Maximum characters per line; an untrusted table can name a file of a hundred thousand."""


class UserError(Exception):
    """Something the user gave is wrong: one line saying what, where and the remedy.

    The command line prints the message without a traceback and exits with 1.

    Args:
        lines: the message; several where there are several mistakes.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(on_one_line(_shortened(line)) for line in lines))


def on_one_line(text: str) -> str:
    """Write line breaks and all else that a terminal would act upon as Python does; file names may hold them."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _shortened(line: str) -> str:
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}"
