"""The outline corrected by hand, by clicks and by a box, and measured; zoom and pan."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chromium import Chromium
from visitor import (
    DONE,
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

pytestmark = [pytest.mark.browser, pytest.mark.allow_hosts(["127.0.0.1"])]

FINAL = f"answer.mask.data = '{rectangle(60, 50, 150, 150)}';"


def with_rectangle(browser: Chromium, site: str, photo: Path, change: str = "") -> None:
    """Show an image whose outline is known: 60 to 150 across, 50 to 150 down, of 300 x 200."""
    ready(browser, site)
    answer_with(browser, FINAL + change)
    browser.drag_in(photo, "body")
    browser.wait(DONE)


def asked(browser: Chromium) -> dict[str, Any]:
    """Give the fields of the last form that was sent, the mask as an image."""
    fields: dict[str, Any] = browser.run(
        """(async () => {
          const fields = {};
          for (const [name, value] of window.asked.at(-1)) {
            if (name === 'mask') fields[name] = btoa(String.fromCharCode(...new Uint8Array(await value.arrayBuffer())));
            else if (name !== 'image') fields[name] = JSON.parse(value);
          }
          return fields;
        })()"""
    )
    if "mask" in fields:
        fields["mask"] = np.array(Image.open(io.BytesIO(base64.b64decode(fields["mask"]))).convert("L"))
    return fields


def test_brush_and_eraser(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    with_rectangle(browser, site, photo)
    assert extent(browser, "#layer-outline") == [60, 50, 150, 150]
    choose_tool(browser, "brush")
    browser.draw(on_image(browser, 0.4, 0.5), on_image(browser, 0.8, 0.5))
    reach = 14 * 300 / browser.run("document.querySelector('#sheet').getBoundingClientRect().width")
    left, upper, right, lower = extent(browser, "#layer-edited")
    assert (left, upper, lower) == (60, 50, 150)
    assert right == pytest.approx(240 + reach, abs=2)

    choose_tool(browser, "eraser")
    browser.draw(on_image(browser, 0.2, 0.1), on_image(browser, 0.2, 0.9))
    assert extent(browser, "#layer-edited")[0] == pytest.approx(60 + reach, abs=2)
    browser.press("z", control=True)
    assert extent(browser, "#layer-edited")[0] == 60
    click(browser, "#undo")
    assert extent(browser, "#layer-edited") is None
    assert browser.run("document.querySelector('#undo').disabled && document.querySelector('#again').disabled")
    click(browser, "#redo")
    browser.press("y", control=True)
    assert extent(browser, "#layer-edited")[0] == pytest.approx(60 + reach, abs=2)
    assert browser.run("document.querySelector('#redo').disabled")

    click(browser, "#again")
    browser.wait("window.asked.length === 2")
    mask = asked(browser)["mask"]
    assert mask.shape == (200, 300)
    assert np.unique(mask).tolist() == [0, 255]
    rows, columns = np.nonzero(mask)
    assert columns.min() == pytest.approx(60 + reach, abs=2)
    assert columns.max() == pytest.approx(240 + reach, abs=2)
    assert (rows.min(), rows.max()) == (50, 149)


def test_the_class_follows_the_outline(checked: Chromium, site: str, photo: Path) -> None:
    """With the server's own answers: what is shown is what it made of the outline."""
    browser = checked
    opened(browser, site, photo)
    before = browser.run("[...document.querySelectorAll('#probabilities .value')].map((each) => each.textContent)")
    answer_with(browser, "window.last = answer;")
    draw_and_ask_again(browser)
    last = browser.run("window.last")
    assert last["coarse_mask_source"] == "given"
    sent = asked(browser)["mask"] == 255
    used = np.array(Image.open(io.BytesIO(base64.b64decode(last["coarse_mask"]["data"]))))
    assert used.tolist() == sent.tolist()
    shown = browser.run("[...document.querySelectorAll('#probabilities .value')].map((each) => each.textContent)")
    expected = [f"{round(100 * share)}\N{NO-BREAK SPACE}%" for share in last["probabilities"].values()]
    assert shown == [f"{was} \N{RIGHTWARDS ARROW} {now}" for was, now in zip(before, expected, strict=True)]
    assert text(browser, "#coarse-key") == "Coarse outline, yours"
    assert extent(browser, "#layer-coarse") is not None
    assert extent(browser, "#layer-before") is not None
    click(browser, "#original")
    assert browser.run("document.querySelector('#change').hidden")
    after = browser.run("[...document.querySelectorAll('#probabilities .value')].map((each) => each.textContent)")
    assert after == before


def test_what_changed_is_told(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    change = f"""answer.decisions = {{'melanoma at 80% sensitivity': form.has('mask')}};
      answer.probabilities = form.has('mask') ? {{nevus: 0.2, melanoma: 0.7, seborrheic_keratosis: 0.1}}
        : {{nevus: 0.8, melanoma: 0.1, seborrheic_keratosis: 0.1}};
      answer.decision = form.has('mask') ? 'melanoma' : 'nevus';
      answer.area_fraction = form.has('mask') ? 0.3 : 0.15;
      if (form.has('mask')) answer.mask.data = answer.coarse_mask.data = '{rectangle(60, 50, 240, 150)}';"""
    with_rectangle(browser, site, photo, change)
    draw_and_ask_again(browser)
    told = text(browser, "#change-facts").split("\n")
    assert "nevus 80 % \N{RIGHTWARDS ARROW} melanoma 70 %" in told
    assert "no \N{RIGHTWARDS ARROW} at 80% sensitivity" in told
    assert "15 % \N{RIGHTWARDS ARROW} 30 % of the image" in told
    assert told[told.index("Area, yours?") + 1] == "30 % of the image"
    # 90 x 100 pixels before, 180 x 100 after: twice the half, over the sum.
    assert told[told.index("Dice, the model's final before and after?") + 1] == "0.667"
    assert told[told.index("Dice, yours and the model's final?") + 1] == "1.000"
    assert text(browser, "#status").startswith("Corrected, melanoma 10 % \N{RIGHTWARDS ARROW} 70 %. ")
    assert browser.run("document.querySelector('#stayed').hidden")
    assert "corrected" in text(browser, "#images")


def test_a_final_outline_that_does_not_follow_is_told(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    with_rectangle(browser, site, photo, f"answer.coarse_mask.data = '{rectangle(60, 50, 240, 150)}';")
    draw_and_ask_again(browser)
    told = text(browser, "#change-facts").split("\n")
    assert told[told.index("Area, yours?") + 1] == "30 % of the image"
    assert told[told.index("Area, the model's final?") + 1] == "15 % of the image, as before"
    assert "did not follow" in text(browser, "#stayed")
    # One goes on from what one has drawn.
    choose_tool(browser, "brush")
    browser.draw(on_image(browser, 0.5, 0.5), on_image(browser, 0.55, 0.5))
    assert extent(browser, "#layer-edited") == [60, 50, 240, 150]


def test_a_person_s_outline_may_be_the_result(checked: Chromium, site: str, photo: Path, folder: Path) -> None:
    """Theirs is measured and saved, and the model's is still shown."""
    browser = checked
    ready(browser, site)
    answer_with(browser, f"if (!form.has('mask')) {FINAL} window.last = answer;")
    browser.drag_in(photo, "body")
    browser.wait(DONE)
    draw_and_ask_again(browser)
    model, drawn = extent(browser, "#layer-outline"), asked(browser)["mask"] == 255
    assert text(browser, "#measured") == "by the model's final outline"
    click(browser, "[name=result][value=yours]")
    browser.wait(f"window.asked.length === 3 && {DONE}")
    assert text(browser, "#measured") == "by your outline"
    assert f"{100 * drawn.mean():.1f} % of the image" in text(browser, "#lesion")
    assert text(browser, "#status").endswith("of the image, by your outline.")
    assert extent(browser, "#layer-outline") == model
    assert browser.run("window.last.model_mask.data !== window.last.mask.data")
    click(browser, "#download-mask")
    saved = np.array(Image.open(io.BytesIO(downloaded(folder, "mole on arm_mask.png"))))
    assert saved.tolist() == drawn.tolist()

    # The choice holds for the next correction, and can be undone.
    browser.draw(on_image(browser, 0.6, 0.1), on_image(browser, 0.8, 0.2))
    draw_and_ask_again(browser)
    assert browser.run("window.last.mask_source") == "given"
    browser.run("document.querySelector('[name=result][value=model]').click()")
    browser.wait(f"window.last.mask_source === 'model' && {DONE}")
    click(browser, "#undo")
    assert browser.run("document.querySelector('[name=result]:checked').value") == "yours"


def test_corrections_are_not_lost_unasked(browser: Chromium, site: str, photo: Path, folder: Path) -> None:
    opened(browser, site, photo)
    ready(browser, site)
    assert browser.dialogs == []
    browser.drag_in(photo, "body")
    browser.wait(DONE)
    choose_tool(browser, "brush")
    browser.draw(on_image(browser, 0.1, 0.1), on_image(browser, 0.3, 0.2))
    opened(browser, site, photo)
    assert browser.dialogs == ["beforeunload"]
    draw_and_ask_again(browser)
    click(browser, "#images .remove")
    assert browser.dialogs[1:] == ["Corrections that were not downloaded are lost. Go on all the same?"]
    opened(browser, site, photo)
    assert browser.dialogs == []
    draw_and_ask_again(browser)
    click(browser, "#download-zip")
    downloaded(folder, "predictions.zip")
    browser.wait("document.querySelectorAll('#images li').length === 1")
    ready(browser, site)
    assert browser.dialogs == []


def test_clicks_and_a_box(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    with_rectangle(browser, site, photo)
    choose_tool(browser, "inside")
    browser.draw(on_image(browser, 0.5, 0.5))
    browser.wait("window.asked.length === 2")
    browser.wait(DONE)
    choose_tool(browser, "outside")
    browser.draw(on_image(browser, 0.1, 0.25))
    browser.wait("window.asked.length === 3")
    browser.wait(DONE)
    points = asked(browser)["points"]
    assert [inside for _, _, inside in points] == [1, 0]
    assert points[0][:2] == pytest.approx([150, 100], abs=1)
    assert points[1][:2] == pytest.approx([30, 50], abs=1)
    assert browser.run("document.querySelectorAll('#layer-marks .mark').length") == 2
    choose_tool(browser, "box")
    browser.draw(on_image(browser, 0.9, 0.8), on_image(browser, 0.2, 0.2))
    browser.wait("window.asked.length === 4")
    browser.wait(DONE)
    assert asked(browser)["box"] == pytest.approx([60, 40, 270, 160], abs=1)
    assert "moved by your marks" in text(browser, "#change-facts")
    click(browser, "#undo")
    assert browser.run("document.querySelector('#layer-marks rect')") is None

    # What was painted is what further clicks correct.
    choose_tool(browser, "brush")
    browser.draw(on_image(browser, 0.4, 0.5), on_image(browser, 0.8, 0.5))
    choose_tool(browser, "inside")
    browser.draw(on_image(browser, 0.6, 0.5))
    browser.wait("window.asked.length === 5")
    browser.wait(DONE)
    fields = asked(browser)
    assert len(fields["points"]) == 1
    assert fields["mask"][100, 200] == 255


def test_a_refused_outline_is_said_and_kept(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    with_rectangle(browser, site, photo)
    choose_tool(browser, "eraser")
    browser.run("brush.value = 60")
    browser.draw(*[on_image(browser, x, y) for y in (0.25, 0.45, 0.6, 0.75) for x in (0.15, 0.55)])
    click(browser, "#again")
    assert text(browser, "#status") == "The outline is empty; draw one with the brush."
    assert not browser.run("document.querySelector('#result').hidden")
    browser.press("z", control=True)
    assert extent(browser, "#layer-outline") == [60, 50, 150, 150]


def test_a_line_gives_the_scale(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    change = "answer.area_pixels = 9000; answer.area_fraction = 0.15;"
    longest = "answer.longest_diameter = {pixels: 100, ends: [[60, 50], [120, 130]], millimetres: null};"
    with_rectangle(browser, site, photo, change + longest)
    assert "mm" not in text(browser, "#lesion")
    choose_tool(browser, "ruler")
    browser.draw(on_image(browser, 0.1, 0.9), on_image(browser, 0.6, 0.9))
    assert browser.run("document.activeElement.id") == "millimetres"
    for key in "15":
        browser.press(key)
    browser.press("Enter")
    told = text(browser, "#lesion").split("\n")
    # 150 pixels are 15 mm.
    assert "90.0 mm² (15.0 % of the image)" in told
    assert "10.0 mm (100 pixels)" in told
    assert "0.1 mm a pixel, by your line" in told


def test_the_scale_of_a_file(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    change = "answer.area_pixels = 9000; answer.area_fraction = 0.15; answer.pixel_spacing = [0.02, 0.01];"
    longest = "answer.longest_diameter = {pixels: 100, ends: [[60, 50], [120, 130]], millimetres: 1.7088};"
    with_rectangle(browser, site, photo, change + longest)
    told = text(browser, "#lesion").split("\n")
    assert "1.80 mm² (15.0 % of the image)" in told
    assert "1.71 mm (100 pixels)" in told
    assert "0.02 \N{MULTIPLICATION SIGN} 0.01 mm a pixel, from the file" in told
    click(browser, "[data-layer=layer-diameter]")
    assert extent(browser, "#layer-diameter") == [60, 50, 120, 130]


def test_zoom_and_pan(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    opened(browser, site, photo)
    browser.run("document.querySelector('#stage').scrollIntoView({block: 'center'})")
    place = on_image(browser, 0.25, 0.5)
    browser.mouse("mouseWheel", *place, deltaX=0, deltaY=-600)
    browser.wait("parseInt(document.querySelector('#zoom').textContent) > 150")
    # What was under the mouse stays there, but for a wheel's place being given in whole pixels.
    assert on_image(browser, 0.25, 0.5) == pytest.approx(place, abs=3)
    place = on_image(browser, 0.25, 0.5)
    browser.draw(place, (place[0] - 40, place[1] + 30))
    assert on_image(browser, 0.25, 0.5) == pytest.approx((place[0] - 40, place[1] + 30), abs=1)
    click(browser, "#zoom-fit")
    stage, sheet = (
        browser.run(f"JSON.stringify(document.querySelector('{name}').getBoundingClientRect())")
        for name in ("#stage", "#sheet")
    )
    assert stage == sheet
    browser.run("document.querySelector('#stage').scrollIntoView({block: 'center'})")
    browser.pinch(*browser.middle("#stage"), apart=(30, 90))
    assert browser.run("parseInt(document.querySelector('#zoom').textContent)") == pytest.approx(300, abs=15)
    # Lines keep their width, and the brush reaches less far on the image.
    assert browser.run("getComputedStyle(document.querySelector('#layer-outline .line')).vectorEffect") == (
        "non-scaling-stroke"
    )


def test_a_finger_paints_and_two_zoom(checked: Chromium, site: str, photo: Path) -> None:
    browser = checked
    opened(browser, site, photo, width=390, height=844)
    choose_tool(browser, "brush")
    browser.pinch(*browser.middle("#stage"), apart=(30, 60))
    assert browser.run("parseInt(document.querySelector('#zoom').textContent)") > 150
    assert extent(browser, "#layer-edited") is None
    for kind, x in (("touchStart", 0.5), ("touchMove", 0.55)):
        left, upper = on_image(browser, x, 0.5)
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": left, "y": upper}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert extent(browser, "#layer-edited") is not None
