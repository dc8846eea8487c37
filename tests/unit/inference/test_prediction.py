"""What a notebook shows of a prediction."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mbdcnn.errors import UserError
from mbdcnn.inference.overlay import FINAL, shrink
from mbdcnn.inference.prediction import Prediction, cam_overlay, overlay
from mbdcnn.inference.predictor import Predictor

random = np.random.default_rng(0)
BLOTCHES = Image.fromarray(random.integers(0, 256, (7, 10, 3), np.uint8))
ARRAY = np.asarray(BLOTCHES.resize((960, 700), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def prediction(bundle) -> Prediction:
    return Predictor.load(bundle.path, device="cpu").predict(ARRAY)


class Page(HTMLParser):
    """Collects images and text, and holds that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.images: list[Image.Image] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in {"div", "figure", "figcaption", "img", "table", "tr", "td", "b", "br", "small"}
        given = dict(attributes)
        assert given.keys() <= {"style", "src", "alt"}
        if tag == "img":
            kind, data = given["src"].split(",")
            assert kind == "data:image/jpeg;base64"
            self.images.append(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
            assert given["alt"]
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data)


def test_images_probabilities_and_notice(prediction: Prediction) -> None:
    page = Page(prediction._repr_html_())
    for name, value in prediction.probabilities.items():
        assert page.text[page.text.index(name.replace("_", " "), 3) + 1] == f"{value:.1%}"
    for name, reached in prediction.decisions.items():
        assert page.text[page.text.index(name) + 1] == ("reached" if reached else "-")
    assert "For research and education. Not a medical device." in page.text
    assert any("Does not look like the dermoscopy images" in text for text in page.text)
    small = shrink(Image.fromarray(ARRAY), 480)
    drawn = (overlay(small, prediction), cam_overlay(small, prediction))
    for shown, expected in zip(page.images, drawn, strict=True):
        assert shown.size == (480, 350)
        assert np.abs(np.asarray(shown).astype(int) - expected).mean() < 12


def test_the_answer_comes_first_and_thresholds_lie_on_the_bars(prediction: Prediction) -> None:
    text = prediction._repr_html_()
    page = Page(text)
    said = prediction.answer.replace(" %", "\N{NO-BREAK SPACE}%")
    assert said in page.text
    assert "are flagged; most probable: " in said
    bars = text[text.index("melanoma</td>") :]
    lines = re.findall(r"left:([\d.]+)%", bars[: bars.index("</tr>")])
    assert lines == [f"{100 * point.threshold:.1f}" for point in prediction.operating_points]
    assert lines
    assert re.findall(r"left:[\d.]+%", text) == [f"left:{line}%" for line in lines]


def test_the_activation_map_is_named_and_carries_scale_and_outline(prediction: Prediction) -> None:
    caption = f"activation map of {prediction.cam_class.replace('_', ' ')}, with the final outline"
    text = prediction._repr_html_()
    scale = text[text.index(f"<figcaption>{caption}") :]
    assert re.search(r">0 <div[^>]*linear-gradient\(90deg, rgb\(68, 1, 84\)[^>]*></div> 1<", scale)
    mask = np.zeros_like(prediction.mask)
    mask[200:500, 300:600] = True
    small = shrink(Image.fromarray(ARRAY), 480)
    outlined = cam_overlay(small, replace(prediction, mask=mask, cam=np.zeros_like(prediction.cam)))
    assert tuple(outlined[175, 150]) == FINAL
    assert np.array_equal(outlined[150:200, 180:270], np.asarray(small)[150:200, 180:270])


def test_an_outline_that_is_kept_is_measured_and_the_model_s_still_drawn(prediction: Prediction) -> None:
    with pytest.raises(UserError, match="keep_outline: nobody gave an outline"):
        prediction.keep_outline()
    theirs = np.zeros_like(prediction.mask)
    theirs[100:200, 300:500] = True
    given = replace(prediction, coarse_mask=theirs, coarse_mask_source="given", pixel_spacing=(0.5, 0.1))
    kept = given.keep_outline()
    assert (given.mask_source, kept.mask_source, kept.to_dict()["mask_source"]) == ("model", "given", "given")
    assert np.array_equal(kept.mask, theirs)
    assert np.array_equal(kept.final_mask, prediction.mask)
    assert np.array_equal(kept.keep_outline().final_mask, prediction.mask)
    assert kept.bounding_box == (300, 100, 500, 200)
    assert kept.to_dict()["area_pixels"] == 20_000
    assert kept.area_square_millimetres == pytest.approx(1000)
    assert kept.longest_diameter_millimetres == pytest.approx(np.hypot(50, 20))
    assert np.array_equal(np.asarray(kept.overlay()), np.asarray(given.overlay()))
    assert "by the outline that was given" in kept._repr_html_()


def test_the_whole_is_in_one_piece_and_small(prediction: Prediction) -> None:
    text = prediction._repr_html_()
    assert not re.search(r"https?:|//|script|url\(", re.sub(r'src="[^"]*"', "", text))
    assert len(text) < 600_000


def test_names_are_no_markup(prediction: Prediction) -> None:
    name = '<script>alert("x")</script>'
    point = prediction.operating_points[0].model_copy(update={"class_name": name})
    of_name = replace(
        prediction,
        probabilities={name: 1.0},
        decisions={f"{name} at 80%": True},
        operating_points=(point,),
        cam_class=name,
        ood_score=0.5,
    )
    text = of_name._repr_html_()
    assert "<script" not in text
    page = Page(text)
    assert name in page.text
    assert f"{name} at 80%" in page.text
    assert not any("Does not look" in text for text in page.text)


def test_without_its_image_it_shows_how_probable_the_lesion_is(prediction: Prediction) -> None:
    page = Page(replace(prediction, image=None, decisions={}, ood_score=None)._repr_html_())
    assert [image.size for image in page.images] == [(480, 350)] * 2


def test_the_users_image_is_not_changed_and_a_thin_one_shown(bundle) -> None:
    predictor = Predictor.load(bundle.path, device="cpu")
    mine = Image.fromarray(ARRAY)
    predictor.predict(mine)
    assert np.array_equal(np.asarray(mine), ARRAY)
    thin = predictor.predict(np.zeros((1, 3000, 3), np.uint8))
    assert thin.image is not None
    assert thin.image.shape == (1, 1600, 3)
    Page(thin._repr_html_())


def test_the_plain_text_is_short(prediction: Prediction) -> None:
    assert "image=" not in repr(prediction)
