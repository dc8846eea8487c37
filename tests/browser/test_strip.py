"""Several images at once: their row, the table and the ZIP file of all."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chromium import Chromium, until
from mbdcnn.data.synthetic import draw
from visitor import DONE, STATUS, answer_with, click, downloaded, draw_and_ask_again, ready, text

pytestmark = [pytest.mark.browser, pytest.mark.allow_hosts(["127.0.0.1"])]

NAMES = ("one.png", "two.png", "=three.png", "four.png", "one.jpg")
WIDTHS = (150, 110, 140, 190, 120)
ALL_DONE = "document.querySelectorAll('#images li').length === %d && !document.querySelector('#images .waiting')"
SHOWN = "[...document.querySelectorAll('#images .file')].map((each) => each.textContent)"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five images, two of one name."""
    folder = tmp_path_factory.mktemp("five")
    for number, name in enumerate(NAMES):
        image, _ = draw(np.random.default_rng(number), "melanoma" if number % 2 else "nevus", (WIDTHS[number], 100))
        image.save(folder / name)
    return [folder / name for name in NAMES]


@pytest.fixture
def five(checked: Chromium, site: str, photos: list[Path]) -> Iterator[Chromium]:
    """The page with five images, of which each has a probability of its own: a thousandth of its width."""
    ready(checked, site)
    answer_with(
        checked,
        "const share = answer.width / 1000;"
        "answer.probabilities = {nevus: 1 - share, melanoma: share, seborrheic_keratosis: 0};",
    )
    checked.drag_in(photos[0], "#drop", *photos[1:])
    checked.wait(ALL_DONE % 5)
    return checked


def test_five_are_dropped_and_one_is_corrected(five: Chromium, photos: list[Path], folder: Path) -> None:
    browser = five
    shares = {name: width / 1000 for name, width in zip(NAMES, WIDTHS, strict=True)}
    by_share = sorted(NAMES, key=lambda name: -shares[name])
    unique = dict(zip(NAMES, ("one", "two", "=three", "four", "one-2"), strict=True))
    assert browser.run(SHOWN) == [unique[name] for name in by_share]
    assert text(browser, "#count") == "5 images"
    for name, state in zip(by_share, browser.run(SHOWN.replace(".file", ".state")), strict=True):
        assert state == f"melanoma {100 * shares[name]:.0f}\N{NO-BREAK SPACE}%"
    click(browser, "#sort")
    assert browser.run(SHOWN) == list(unique.values())

    click(browser, "#images li:nth-child(2) .show")
    assert browser.run("document.querySelector('#images [aria-current]').innerText").startswith("two")
    draw_and_ask_again(browser)
    click(browser, "#download-zip")
    with zipfile.ZipFile(io.BytesIO(downloaded(folder, "predictions.zip"))) as archive:
        assert archive.testzip() is None
        ends = (".json", "_mask.png", "_coarse.png", "_overlay.png")
        assert set(archive.namelist()) == {
            "predictions.csv",
            *(f"{name}{end}" for name in unique.values() for end in ends),
        }
        answer = json.loads(archive.read("two.json"))
        assert answer["coarse_mask_source"] == "given"
        for end in ends[1:]:
            assert Image.open(archive.open(f"two{end}")).size == (110, 100)
        rows = list(csv.DictReader(io.StringIO(archive.read("predictions.csv").decode(), newline="")))
    assert [row["file"] for row in rows] == [f"'{name}" if name.startswith("=") else name for name in NAMES]
    assert [row["coarse_mask_source"] for row in rows] == ["model", "given", "model", "model", "model"]
    assert float(rows[1]["melanoma"]) == answer["probabilities"]["melanoma"]
    assert {row["longest_diameter_millimetres"] for row in rows} == {""}


def test_the_table_has_the_columns_of_the_command(five: Chromium, folder: Path) -> None:
    from mbdcnn.inference.tables import flat

    browser = five
    model = browser.run("fetch('/v1/model').then((response) => response.json())")
    click(browser, "#download-csv")
    header = downloaded(folder, "predictions.csv").decode().splitlines()[0].split(",")
    calibrations = [each for each in model["calibration"].values() if each]
    points = list(dict.fromkeys(point["name"] for each in calibrations for point in each["operating_points"]))
    assert header == list(flat({}, model["classes"], points))


def test_what_fails_stands_beside_what_does_not(
    checked: Chromium, site: str, photos: list[Path], tmp_path: Path, folder: Path
) -> None:
    browser = checked
    (tmp_path / "text.jpg").write_bytes(b"hello")
    ready(browser, site)
    browser.drag_in(tmp_path / "text.jpg", "#drop", photos[1])
    browser.wait("document.querySelector('#images .failed') && !document.querySelector('#images .waiting')")
    browser.complaints.clear()  # the refusal
    click(browser, "#download-csv")
    rows = list(csv.DictReader(io.StringIO(downloaded(folder, "predictions.csv").decode(), newline="")))
    assert rows[0]["problem"].startswith("Not an image")
    assert rows[1]["problem"] == ""
    click(browser, "#images .failed .show")
    assert browser.run("document.querySelector('#result').hidden")
    assert browser.run(STATUS).startswith("Not an image")
    click(browser, "#images .failed .remove")
    assert browser.run(SHOWN) == ["two"]
    assert not browser.run("document.querySelector('#result').hidden")
    click(browser, "#remove-all")
    assert browser.run("document.activeElement.id") == "file"
    assert browser.run("document.querySelector('#strip').hidden && document.querySelector('#result').hidden")
    assert text(browser, ".examples").startswith("Or try an example")


def test_an_image_is_pasted(checked: Chromium, site: str) -> None:
    browser = checked
    ready(browser, site)
    browser.run(
        """(async () => {
          const canvas = document.createElement('canvas');
          canvas.width = 90; canvas.height = 60;
          canvas.getContext('2d').fillRect(20, 20, 30, 30);
          const blob = await new Promise((done) => canvas.toBlob(done));
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([blob], 'image.png', { type: 'image/png' }));
          document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }));
        })()"""
    )
    browser.wait(DONE)
    assert browser.run(SHOWN) == ["image"]
    assert "90 \N{MULTIPLICATION SIGN} 60 pixels" in text(browser, "#lesion")


def test_images_wait_for_their_turn(checked: Chromium, site: str, photos: list[Path]) -> None:
    """Two at once: a page with many images leaves the server to others too."""
    browser = checked
    ready(browser, site)
    browser.run(
        """(() => {
          const real = window.fetch;
          window.most = window.running = 0;
          window.fetch = async (...parts) => {
            window.most = Math.max(window.most, window.running += 1);
            await new Promise((done) => setTimeout(done, 50));
            return real(...parts).finally(() => { window.running -= 1; });
          };
        })()"""
    )
    browser.drag_in(photos[0], "body", *photos[1:])
    until(lambda: browser.run(ALL_DONE % 5), "all done")
    assert browser.run("window.most") == 2
