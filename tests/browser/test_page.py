"""The page as people use it: by mouse, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chromium import Chromium
from dicom_files import photograph
from visitor import (
    DONE,
    STATUS,
    answer_with,
    choose_tool,
    click,
    downloaded,
    draw_and_ask_again,
    extent,
    on_image,
    opened,
    ready,
    rectangle,
    text,
)

AXE = Path(__file__).parents[2] / ".ci" / "axe.min.js"
pytestmark = [pytest.mark.browser, pytest.mark.allow_hosts(["127.0.0.1"])]


def test_an_image_is_dragged_in(checked: Chromium, site: str, photo: Path, folder: Path) -> None:
    browser = checked
    ready(browser, site)
    browser.drag_in(photo, "#drop")
    browser.wait(DONE)

    browser.run("document.querySelector('#download-json').click()")
    answer = json.loads(downloaded(folder, "mole on arm_prediction.json"))
    browser.run("document.querySelector('#download-mask').click()")
    mask = downloaded(folder, "mole on arm_mask.png")
    encoded = base64.b64encode(photo.read_bytes()).decode()
    same = browser.run(
        f"fetch('/v1/predictions', {{method: 'POST', body: Uint8Array.from(atob('{encoded}'), c => c.charCodeAt(0))}})"
        ".then(response => response.json())"
    )
    assert answer == same
    assert mask == base64.b64decode(answer["mask"]["data"])
    (folder / "mask.png").write_bytes(mask)
    assert np.array(Image.open(folder / "mask.png")).shape == (200, 300)

    said = answer["answer"].replace(" %", "\N{NO-BREAK SPACE}%")
    assert browser.run(STATUS).startswith(said[0].upper() + said[1:] + ". ")
    assert "are flagged; most probable: " in said
    model = browser.run("fetch('/v1/model').then(response => response.json())")
    points = model["calibration"][answer["protocol"]]["operating_points"]
    ticks = "[...document.querySelectorAll('#probabilities .tick')].map(tick => parseFloat(tick.style.left))"
    assert browser.run(ticks) == pytest.approx([100 * point["threshold"] for point in points], abs=0.01)
    of_class = list(answer["probabilities"]).index(points[0]["class_name"]) + 1
    assert browser.run(f"document.querySelectorAll('#probabilities li:nth-child({of_class}) .tick').length") == len(
        points
    )
    key = browser.run("document.querySelector('[data-layer=layer-cam]').parentElement.innerText").split()
    assert key == ["Activation", "map", "of", *answer["cam_class"].split("_"), "0", "1"]
    shown = browser.run("document.querySelector('#probabilities').innerText")
    for name, share in answer["probabilities"].items():
        assert name.replace("_", " ") in shown
        assert f"{round(share * 100)}\N{NO-BREAK SPACE}%" in shown
    assert "300 \N{MULTIPLICATION SIGN} 200 pixels" in browser.run("document.querySelector('#lesion').innerText")


def test_layers_are_switched(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    ready(browser, site)
    cam = {"width": 2, "height": 2, "values": [[1, -1], [0, 0.5]]}
    masks = (
        f"answer.mask.data = '{rectangle(0, 50, 150, 150)}'; answer.coarse_mask.data = '{rectangle(150, 0, 300, 200)}';"
    )
    answer_with(browser, f"{masks} answer.cam = {json.dumps(cam)};")
    browser.drag_in(photo, "body")
    browser.wait(DONE)
    final, coarse = [0, 50, 150, 150], [150, 0, 300, 200]
    assert [extent(browser, layer) for layer in ("#layer-outline", "#layer-coarse")] == [final, None]
    assert browser.run("getComputedStyle(document.querySelector('#layer-cam')).display") == "none"
    browser.run("document.querySelectorAll('[data-layer]').forEach((box) => box.click())")
    assert [extent(browser, layer) for layer in ("#layer-outline", "#layer-coarse")] == [None, coarse]
    colour = "getComputedStyle(document.querySelector('%s .line')).stroke"
    assert browser.run(colour % "#layer-outline") == "rgb(0, 125, 255)"
    assert browser.run(colour % "#layer-coarse") == "rgb(255, 190, 30)"
    red, green, blue = browser.run(
        "[...document.querySelector('#layer-cam').getContext('2d').getImageData(5, 5, 1, 1).data.slice(0, 3)]"
    )
    assert red > 200
    assert green > 200
    assert blue < 80
    browser.run("(() => { opacity.value = 40; opacity.dispatchEvent(new Event('input')); })()")
    assert browser.run("getComputedStyle(document.querySelector('#layer-cam')).opacity") == "0.4"


def test_by_keyboard_alone(checked: Chromium, site: str) -> None:
    browser = checked
    ready(browser, site)
    browser.press("Tab")
    assert browser.run("document.activeElement.id") == "file"
    assert browser.run("getComputedStyle(document.querySelector('#drop')).outlineStyle") == "solid"
    for name in ("ISIC_0014608", "ISIC_0014558"):
        browser.press("Tab")
        assert browser.run("document.activeElement.dataset.example") == name
    browser.press("Enter")
    browser.wait(DONE)
    # The example's button is gone; its image in the row is where one goes on.
    assert text(browser, ":focus").startswith("ISIC_0014558")
    tab_to(browser, "stage")
    for key in ("+", "+", "-", "b", "]", " ", "ArrowRight", "ArrowRight", "ArrowDown", " "):
        browser.press(key)
    assert browser.run("document.querySelector('#zoom').textContent") == "140\N{NO-BREAK SPACE}%"
    assert browser.run("document.querySelector('[name=tool]:checked').value") == "brush"
    assert extent(browser, "#layer-edited") is not None
    browser.press("0")
    tab_to(browser, "again")
    browser.press("Enter")
    browser.wait("!document.querySelector('#change').hidden")
    assert "drawn by hand" in text(browser, "#change-facts")
    tab_to(browser, "layer-cam")
    browser.press(" ")
    assert browser.run("getComputedStyle(document.querySelector('#layer-cam')).display") == "block"
    tab_to(browser, "why")
    browser.press("Enter")
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    meaning = "document.getElementById(document.activeElement.getAttribute('aria-controls')).innerText.length"
    assert browser.run(meaning) > 20
    tab_to(browser, "download-json")
    assert browser.run("document.querySelector('#status').getAttribute('role')") == "status"


def tab_to(browser: Chromium, name: str) -> None:
    """Press Tab until what is wanted is in focus."""
    active = "document.activeElement"
    for _ in range(40):
        browser.press("Tab")
        if name in browser.run(f"[{active}.id, {active}.className, {active}.dataset.layer ?? '']"):
            return
    raise AssertionError(f"not reached by Tab: {name}")


@pytest.mark.parametrize("screen", [{"width": 390, "height": 844}, {"width": 320, "height": 568}, {"dark": True}])
def test_every_screen(checked: Chromium, site: str, photo: Path, screen: dict[str, Any]) -> None:
    browser = checked
    ready(browser, site, **screen)
    browser.drag_in(photo, "#drop")
    browser.wait(DONE)
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    ratio = (
        "(() => { const b = document.querySelector('#image').getBoundingClientRect(); return b.width / b.height; })()"
    )
    assert browser.run(ratio) == pytest.approx(1.5, rel=0.01)
    browser.run("window.scrollTo(0, document.body.scrollHeight)")
    top = browser.run("document.querySelector('.notice').getBoundingClientRect().top")
    assert 0 <= top < 100
    assert "Not a medical device" in browser.run("document.querySelector('.notice').innerText")
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == screen.get("dark", False)


def test_warnings_and_operating_points(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    ready(browser, site)
    change = (
        "answer.looks_like_dermoscopy = false; answer.ood_score = 2.5; answer.bounding_box = null;"
        "answer.decisions = {'melanoma at 80% sensitivity': true, 'melanoma at 95% sensitivity': false};"
    )
    answer_with(browser, change)
    browser.drag_in(photo, "#drop")
    browser.wait(DONE)
    assert not browser.run("document.querySelector('#warning').hidden")
    said = browser.run(STATUS)
    assert said.startswith("This does not look like a dermoscopy image.")
    assert said.endswith("No lesion was found.")
    decisions = browser.run("[...document.querySelectorAll('#decisions span')].map(each => each.textContent)")
    assert decisions == [
        "melanoma at 80% sensitivity",
        "● reached",
        "melanoma at 95% sensitivity",
        "○ not reached",
    ]


def test_an_operating_point_is_explained(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    ready(browser, site)
    browser.drag_in(photo, "#drop")
    browser.wait(DONE)
    model = browser.run("fetch('/v1/model').then(response => response.json())")
    points = model["calibration"]["fast"]["operating_points"]
    said = browser.run("[...document.querySelectorAll('#decisions small')].map(each => each.textContent)")
    assert len(said) == len(points) > 0
    for told, point in zip(said, points, strict=True):
        numbers = (point["threshold"], point["sensitivity"][0], 1 - point["specificity"][0])
        threshold, cases, others = (f"{int(100 * number + 0.5)}\N{NO-BREAK SPACE}%" for number in numbers)
        assert told == f"From {threshold} on, flagging {cases} of cases and {others} of others"


def test_no_warning_where_there_is_nothing_to_warn_of(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    ready(browser, site)
    answer_with(browser, "answer.looks_like_dermoscopy = true; answer.ood_score = 0.5; answer.decisions = {};")
    browser.drag_in(photo, "#drop")
    browser.wait(DONE)
    assert browser.run("document.querySelector('#warning').hidden")
    assert browser.run("document.querySelector('#decisions-card').hidden")


def test_a_busy_server_is_asked_again(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    ready(browser, site)
    answer_with(browser, "", status=503)
    browser.drag_in(photo, "#drop")
    browser.wait(f"{STATUS}.startsWith('The server is busy')")
    browser.wait(DONE)


def test_what_is_wrong_is_said(browser: Chromium, site: str, photo: Path, tmp_path: Path) -> None:
    ready(browser, site)
    wrong = {"text.jpg": (b"hello", "Not an image"), "large.jpg": (b"x" * 300_001, "The file is larger than 0.3 MB")}
    for name, (content, saying) in wrong.items():
        (tmp_path / name).write_bytes(content)
        browser.drag_in(tmp_path / name, "#drop")
        browser.wait(f"{STATUS}.startsWith({json.dumps(saying)})")
        assert browser.run("document.querySelector('#result').hidden")
    browser.drag_in(photo, "#drop")
    browser.wait(DONE)


@pytest.mark.parametrize("kind", ["tif", "dcm"])
def test_images_that_browsers_cannot_show(checked: Chromium, site: str, photo: Path, kind: str, tmp_path: Path) -> None:
    browser = checked
    file = tmp_path / f"photo.{kind}"
    if kind == "dcm":
        file.write_bytes(photograph(np.asarray(Image.open(photo)), PixelSpacing=[0.02, 0.02]))
    else:
        Image.open(photo).save(file)
    opened(browser, site, file)
    browser.wait("document.querySelector('#image').naturalWidth === 300")
    assert not browser.run("document.querySelector('#stage').classList.contains('blank')")
    assert browser.run("document.querySelector('#layer-outline .line').getTotalLength()") > 0
    assert ("0.02 mm a pixel, from the file" in text(browser, "#lesion")) == (kind == "dcm")


def test_the_interface_is_explained(checked: Chromium, site: str) -> None:
    browser = checked
    browser.open(f"{site}/docs")
    browser.wait("document.querySelectorAll('#operations section').length > 5")
    text = browser.run("document.body.innerText")
    for told in (
        "POST /v1/predictions",
        f"curl -F image=@photo.jpg {site}/v1/predictions",
        "coarse_mask",
        "Retry-After",
    ):
        assert told in text


def test_the_model_tells_of_itself(checked: Chromium, site: str, bundle) -> None:
    browser = checked
    ready(browser, site)
    click(browser, "#about summary")
    told = text(browser, "#about")
    model = browser.run("fetch('/v1/model').then(response => response.json())")
    assert model["fingerprint"] in told
    assert model["intended_use"] in told
    # Scores, data and limits are the card's.
    for line in (bundle.path / "README.md").read_text().splitlines():
        if line.startswith("## "):
            assert line.removeprefix("## ") in told
    assert browser.run("document.querySelectorAll('#card td').length") > 0
    assert browser.run(
        "[...document.querySelectorAll('#card a[href^=\"#\"]')].every((each) => document.querySelector(each.hash))"
    )


FAULTS = "axe.run().then(found => found.violations.map(each => [each.id, ...each.nodes.map(node => node.html)]))"


@pytest.mark.parametrize("screen", [{}, {"dark": True}, {"width": 390, "height": 844}, {"width": 2560, "height": 1440}])
def test_nothing_bars_anybody(
    browser: Chromium, site: str, photo: Path, screen: dict[str, Any], tmp_path: Path
) -> None:
    """By the rules of axe-core: contrast, names, roles, order of headings, what the keyboard reaches."""
    if not AXE.is_file():
        pytest.skip("axe-core is not there (.ci/run fetches it)")
    ready(browser, site, **screen)
    browser.run(f"{AXE.read_text()};0")

    def faultless(state: str) -> None:
        found = browser.run(FAULTS)
        assert found == [], f"{state}: {found}"

    faultless("the start")
    answer_with(browser, "window.last = answer;")
    browser.drag_in(photo, "body")
    browser.wait(DONE)
    faultless("one result")
    choose_tool(browser, "eraser")
    browser.mouse("mouseMoved", *on_image(browser, 0.5, 0.5))
    browser.draw(on_image(browser, 0.1, 0.1), on_image(browser, 0.3, 0.2))
    faultless("an outline under correction")
    draw_and_ask_again(browser)
    faultless("a correction")
    browser.run("document.querySelector('[name=result][value=yours]').click()")
    browser.wait(f"window.last.mask_source === 'given' && {DONE}")
    faultless("a person's outline as the result")
    (tmp_path / "text.jpg").write_bytes(b"hello")
    browser.run("scrollTo(0, 0)")
    browser.drag_in(tmp_path / "text.jpg", "#drop", photo, photo)
    browser.wait("document.querySelector('#images .failed') && !document.querySelector('#images .waiting')")
    faultless("several images, of which one failed")
    browser.run("document.querySelector('#images .failed .show').click()")
    faultless("the one that failed")
    browser.run("document.querySelector('#images .show').click()")
    answer_with(browser, "answer.looks_like_dermoscopy = false; answer.ood_score = 2.5; window.odd = true;")
    click(browser, "[value=inside]")
    browser.run("document.querySelector('#stage').scrollIntoView({block: 'center'})")
    browser.draw(on_image(browser, 0.5, 0.5))
    browser.wait(f"window.odd && {DONE}")
    faultless("an image of another kind, with a click on it")
    browser.run(
        "document.querySelectorAll('details').forEach((each) => { each.open = true; });"
        "document.querySelectorAll('.why, [data-layer]:not(:checked)').forEach((each) => each.click());"
        "document.querySelector('#scale-form').hidden = false"
    )
    faultless("all that opens, about the model too")
    browser.open(f"{site}/docs")
    browser.wait("document.querySelectorAll('#operations section').length > 5")
    browser.run(f"{AXE.read_text()};0")
    faultless("the interface for programs")


@pytest.mark.parametrize("odd", [False, True])
def test_the_report_is_one_page(checked: Chromium, site: str, photo: Path, odd: bool, tmp_path: Path) -> None:
    browser = checked
    ready(browser, site)
    told = "answer.looks_like_dermoscopy = false; answer.ood_score = 2.5;"
    spread = "answer.uncertainty.disagreement = 0.1; answer.pixel_spacing = [0.0123, 0.0123];"
    answer_with(browser, told + spread if odd else "answer.looks_like_dermoscopy = true;")
    browser.drag_in(photo, "body")
    browser.wait(DONE)
    draw_and_ask_again(browser)
    click(browser, "#zoom-in")
    (tmp_path / "report.pdf").write_bytes(browser.print())
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext is installed (Debian: apt-get install poppler-utils)")
    printed = subprocess.run(["pdftotext", "-layout", tmp_path / "report.pdf", "-"], capture_output=True, text=True)
    assert printed.stdout.count("\f") == 1
    for told in ("Research use only.", "mole on arm", "Before", "Probabilities", "Lesion", "protocol fast", "Measured"):
        assert told in printed.stdout
    for control in ("Brush", "Add images", "Again with this outline", "About this model"):
        assert control not in printed.stdout
