"""One word for one thing, and the field's own: words that were once used are not in help, messages or docs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD = re.compile(
    r"pictur|committee|familiar|stranger|\bspoil|stands? twice|goes on (where|from)|to go on from|\bwanting\b|flatter"
    r"|redrawn|can mend|nobody told|less coarse",
    re.IGNORECASE,
)
FORMER = {
    "committee": ("config/loading.py", "cli/training.py", "serving/facts.py"),
    "familiar": ("inference/ood.py", "inference/prediction.py", "serving/answers.py"),
    "pictur": ("inference/prediction.py",),
}
"""Former names that are still taken, and the name of a file of each bundle."""
TEXTS = [
    *(path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".j2", ".html", ".js", ".yaml"}),
    *(path for folder in ("docs", "examples", "experiments", "benchmarks") for path in (ROOT / folder).rglob("*.*")),
    *ROOT.glob("*.md"),
]


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix not in {".jpg", ".png", ".pyc"}], ids=str)
def test_old_words_are_gone(path: Path) -> None:
    allowed = {word for word, files in FORMER.items() if str(path).endswith(files)}
    found = {match.group().lower() for match in OLD.finditer(path.read_text(encoding="utf-8"))}
    assert found <= allowed
