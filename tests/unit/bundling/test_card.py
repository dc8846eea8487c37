"""The model card."""

import shutil
from pathlib import Path

import pytest

from mbdcnn.artifacts import Bundle
from mbdcnn.bundling.write import describe_results


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(bundle.path, tmp_path / "copy")
    return Bundle.open(tmp_path / "copy")


def test_the_card_says_what_it_is(bundle: Bundle) -> None:
    card = (bundle.path / "README.md").read_text()
    assert card.startswith("---\n")
    assert "medical device.**" in card
    assert "seborrheic keratosis" in card
    assert "On the test images, with 95 % intervals:" in card
    for point in bundle.calibration("paper").operating_points:
        assert f"| {point.name} | {point.threshold:.3f} (" in card


def test_results_stand_in_the_card_once_and_what_the_user_wrote_stays(copy: Bundle, experiment) -> None:
    card = copy.path / "README.md"
    told = card.read_text()
    card.write_text(told + "\nMine.\n")
    describe_results(copy, "other images", experiment.results.report.metrics)
    assert card.read_text() == told + "\nMine.\n"
    Bundle.open(copy.path, verify=True)
