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

from mbdcnn.inference.overlay import shrink
from mbdcnn.inference.prediction import Prediction, cam_overlay, overlay
from mbdcnn.inference.predictor import Predictor

random = np.random.default_rng(0)
BLOTCHES = Image.fromarray(random.integers(0, 256, (7, 10, 3), np.uint8))
ARRAY = np.asarray(BLOTCHES.resize((960, 700), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def prediction(bundle) -> Prediction:
    return Predictor.load(bundle.path, device="cpu").predict(ARRAY)


class Page(HTMLParser):
    """Collects pictures and text, and holds that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.pictures: list[Image.Image] = []
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
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
            assert given["alt"]
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data)


def test_pictures_probabilities_and_notice(prediction: Prediction) -> None:
    page = Page(prediction._repr_html_())
    for name, value in prediction.probabilities.items():
        assert page.text[page.text.index(name.replace("_", " "), 3) + 1] == f"{value:.1%}"
    for name, reached in prediction.decisions.items():
        assert page.text[page.text.index(name) + 1] == ("reached" if reached else "-")
    assert "For research and education. Not a medical device." in page.text
    assert any("Does not look like the dermoscopy images" in text for text in page.text)
    small = shrink(Image.fromarray(ARRAY), 480)
    drawn = (overlay(small, prediction), cam_overlay(small, prediction))
    for shown, expected in zip(page.pictures, drawn, strict=True):
        assert shown.size == (480, 350)
        assert np.abs(np.asarray(shown).astype(int) - expected).mean() < 12


def test_the_whole_is_in_one_piece_and_small(prediction: Prediction) -> None:
    text = prediction._repr_html_()
    assert not re.search(r"https?:|//|script|url\(", re.sub(r'src="[^"]*"', "", text))
    assert len(text) < 600_000


def test_names_are_no_markup(prediction: Prediction) -> None:
    name = '<script>alert("x")</script>'
    of_name = replace(prediction, probabilities={name: 1.0}, decisions={f"{name} at 80%": True}, unfamiliarity=0.5)
    text = of_name._repr_html_()
    assert "<script" not in text
    page = Page(text)
    assert name in page.text
    assert f"{name} at 80%" in page.text
    assert not any("Does not look" in text for text in page.text)


def test_without_its_picture_it_shows_how_probable_the_lesion_is(prediction: Prediction) -> None:
    page = Page(replace(prediction, picture=None, decisions={}, unfamiliarity=None)._repr_html_())
    assert [picture.size for picture in page.pictures] == [(480, 350)] * 2


def test_the_users_picture_is_not_changed_and_a_thin_one_shown(bundle) -> None:
    predictor = Predictor.load(bundle.path, device="cpu")
    mine = Image.fromarray(ARRAY)
    predictor.predict(mine)
    assert np.array_equal(np.asarray(mine), ARRAY)
    thin = predictor.predict(np.zeros((1, 3000, 3), np.uint8))
    assert thin.picture is not None
    assert thin.picture.shape == (1, 1600, 3)
    Page(thin._repr_html_())


def test_the_plain_text_is_short(prediction: Prediction) -> None:
    assert "picture=" not in repr(prediction)
