"""The page as people use it: by mouse, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from chromium import Chromium, until

pytestmark = [pytest.mark.browser, pytest.mark.allow_hosts(["127.0.0.1"])]

DONE = "!document.querySelector('#findings').hidden"
STATUS = "document.querySelector('#status').textContent"
DRAWN = """(() => {
  const canvas = document.querySelector('%s');
  if (canvas.hidden || !canvas.width) return 0;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let index = 3; index < data.length; index += 4) count += data[index] > 0;
  return count / (canvas.width * canvas.height);
})()"""
COLOUR = """(() => {
  const canvas = document.querySelector('%s');
  const place = [%f * canvas.width, %f * canvas.height].map(Math.floor);
  return [...canvas.getContext('2d').getImageData(...place, 1, 1).data.slice(0, 3)];
})()"""
LAYERS = ("#layer-outline", "#layer-coarse", "#layer-cam")


def ready(browser: Chromium, site: str, **screen: Any) -> None:
    browser.open(f"{site}/", **screen)
    browser.wait("document.querySelector('#model').children.length > 0")


def png(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def downloaded(folder: Path, name: str) -> bytes:
    file = folder / "downloads" / name
    until(lambda: file.is_file() and file.stat().st_size > 0, name)
    content = file.read_bytes()
    file.unlink()
    return content


@pytest.fixture
def checked(browser: Chromium, site: str):
    """Whatever a test does, no script fails and no request leaves this machine."""
    yield browser
    assert browser.complaints == []
    outside = [address for address in browser.addresses if urlsplit(address).scheme not in ("blob", "data")]
    assert {urlsplit(address).netloc for address in outside} == {urlsplit(site).netloc}


def test_a_image_is_dragged_in(checked: Chromium, site: str, photo: Path, folder: Path) -> None:
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
    masks = [Image.new("1", (300, 200)) for _ in range(2)]
    masks[0].paste(1, (0, 50, 150, 150))
    masks[1].paste(1, (150, 0, 300, 200))
    cam = {"width": 2, "height": 2, "values": [[1, -1], [0, 0.5]]}
    change = "".join(
        f"answer.{name}.data = '{png(mask)}';" for name, mask in zip(("mask", "coarse_mask"), masks, strict=True)
    )
    answer_with(browser, f"{change} answer.cam = {json.dumps(cam)};")
    browser.drag_in(photo, "body")
    browser.wait(DONE)
    # Lines along the inside of the masks' edges, also where they meet the frame: the coarse one is longer.
    switch = "document.querySelectorAll('[data-layer]').forEach((box) => box.click())"
    drawn = [browser.run(DRAWN % layer) for layer in LAYERS]
    assert drawn == [pytest.approx(0.025, abs=0.01), 0, 0]
    assert browser.run(COLOUR % ("#layer-outline", 0.002, 0.5)) == [0, 125, 255]
    browser.run(switch)
    outline, coarse, cam_share = (browser.run(DRAWN % layer) for layer in LAYERS)
    assert outline == 0
    assert drawn[0] < coarse < 0.1
    assert 0.3 < cam_share < 1
    assert browser.run(COLOUR % ("#layer-coarse", 0.998, 0.5)) == [255, 190, 30]
    red, green, blue = browser.run(COLOUR % ("#layer-cam", 0.02, 0.02))
    assert red > 200
    assert green > 200
    assert blue < 80


def test_by_keyboard_alone(checked: Chromium, site: str) -> None:
    browser = checked
    ready(browser, site)
    focused = (
        "document.activeElement.id || document.activeElement.dataset.example || document.activeElement.dataset.layer"
    )
    browser.press("Tab")
    assert browser.run(focused) == "file"
    assert browser.run("getComputedStyle(document.querySelector('#drop')).outlineStyle") == "solid"
    for number in "123":
        browser.press("Tab")
        assert browser.run(focused) == number
    browser.press("Enter")
    browser.wait(DONE)
    found = []
    for _ in range(5):
        browser.press("Tab")
        found.append(browser.run(focused))
        if found[-1] == "layer-cam":
            browser.press(" ")
    assert found == ["layer-outline", "layer-coarse", "layer-cam", "download-mask", "download-json"]
    assert browser.run(DRAWN % "#layer-cam") > 0
    assert browser.run("document.querySelector('#status').getAttribute('role')") == "status"


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


def answer_with(browser: Chromium, change: str, status: int = 200) -> None:
    """Let the page see the server's answers changed, or refused the first time."""
    browser.run(
        f"""(() => {{
          const real = window.fetch;
          let calls = 0;
          window.fetch = async (address, options) => {{
            const response = await real(address, options);
            if (address !== '/v1/predictions') return response;
            calls += 1;
            if ({status} !== 200 && calls === 1)
              return new Response('{{"error": "busy"}}', {{status: {status}, headers: {{'Retry-After': '1'}}}});
            const answer = await response.json();
            {change}
            return new Response(JSON.stringify(answer));
          }};
        }})()"""
    )


def test_warnings_and_operating_points(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    ready(browser, site)
    change = (
        "answer.looks_like_dermoscopy = false; answer.unfamiliarity = 2.5; answer.bounding_box = null;"
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
    for text, point in zip(said, points, strict=True):
        numbers = (point["threshold"], point["sensitivity"][0], 1 - point["specificity"][0])
        threshold, cases, others = (f"{int(100 * number + 0.5)}\N{NO-BREAK SPACE}%" for number in numbers)
        assert text == f"From {threshold} on, flagging {cases} of cases and {others} of others"


def test_no_warning_where_there_is_nothing_to_warn_of(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    ready(browser, site)
    answer_with(browser, "answer.looks_like_dermoscopy = true; answer.unfamiliarity = 0.5; answer.decisions = {};")
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


def test_a_image_that_browsers_cannot_show(checked: Chromium, site: str, photo: Path, tmp_path: Path) -> None:
    browser = checked
    Image.open(photo).save(tmp_path / "photo.tif")
    ready(browser, site)
    browser.drag_in(tmp_path / "photo.tif", "#drop")
    browser.wait(DONE)
    assert browser.run("document.querySelector('#stage').classList.contains('blank')")
    assert browser.run(DRAWN % "#layer-outline") > 0


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
