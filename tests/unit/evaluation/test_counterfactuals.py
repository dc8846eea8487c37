from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mbdcnn.evaluation.counterfactuals import (
    FEATHER,
    Change,
    add_sticker,
    exchange_background,
    paint_over,
    summarise_changes,
)
from mbdcnn.evaluation.image_score import ImageScore

CLASSES = ("nevus", "melanoma", "keratosis")
PALE, DARK = (220, 180, 160), (130, 95, 80)


def lesion_on(skin: tuple[int, int, int], box: tuple[int, int, int, int], size=(120, 90)):
    """An ellipse on plain skin, and its mask."""
    image, mask = Image.new("RGB", size, skin), Image.new("1", size)
    ImageDraw.Draw(image).ellipse(box, fill=(90, 40, 30))
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    return np.asarray(image), np.asarray(mask)


@pytest.mark.parametrize("image_id", ["a", "b", "c", "ISIC_0000001", "\udcff"])
@pytest.mark.parametrize("box", [(40, 30, 80, 60), (0, 0, 100, 60), (-20, -20, 119, 70)])
def test_a_sticker_lies_beside_the_lesion_and_in_its_own_place(image_id: str, box) -> None:
    image, lesion = lesion_on(PALE, box)
    kept = image.copy()
    stuck = add_sticker(image, lesion, image_id)
    changed = (stuck != image).any(axis=2)
    assert (image == kept).all()
    assert 0.002 < changed.mean() < 0.2
    assert not (changed & lesion).any()
    assert (stuck == add_sticker(image, lesion, image_id)).all()
    colours = stuck[changed & ~np.isin(stuck, image).all(axis=2)]
    # One plain colour but for the disc's edge, and none of skin.
    assert np.ptp(np.median(colours, axis=0)) > 60


def test_stickers_of_two_images_differ() -> None:
    image, lesion = lesion_on(PALE, (40, 30, 80, 60))
    assert (add_sticker(image, lesion, "a") != add_sticker(image, lesion, "b")).any()


def test_there_is_no_sticker_where_there_is_no_room() -> None:
    image, _ = lesion_on(PALE, (40, 30, 80, 60))
    whole = np.ones(image.shape[:2], bool)
    whole[:3, :3] = False
    assert add_sticker(image, whole, "a") is None


def test_a_lesion_painted_over_is_gone_and_the_rest_as_it_was() -> None:
    image, lesion = lesion_on(PALE, (40, 30, 80, 60))
    image = image.copy()
    image[:, 90:] = DARK
    painted = paint_over(image, lesion)
    assert np.abs(painted[lesion].astype(int) - PALE).max() < 30
    far = np.ones(lesion.shape, bool)
    far[22:69, 32:89] = False
    assert (painted[far] == image[far]).all()
    nothing = np.zeros(lesion.shape, bool)
    assert (paint_over(image, nothing) == image).all()
    assert (paint_over(image, ~nothing) == image).all()


def test_a_lesion_keeps_its_pixels_on_anothers_skin() -> None:
    image, lesion = lesion_on(PALE, (30, 30, 60, 60))
    # Of another size, with its lesion elsewhere.
    other, other_lesion = lesion_on(DARK, (100, 20, 190, 150), size=(240, 200))
    moved = exchange_background(image, lesion, other, other_lesion)
    assert moved.shape == image.shape
    assert (moved[lesion] == image[lesion]).all()
    rim = round(FEATHER * 90) + 1
    outside = np.ones(lesion.shape, bool)
    outside[30 - rim : 61 + rim, 30 - rim : 61 + rim] = False
    # Neither its own skin nor the other's lesion is left.
    assert np.abs(moved[outside].astype(int) - DARK).max() < 30


def score(number: int, probabilities: tuple[float, ...], label: int | None) -> ImageScore:
    return ImageScore(str(number), 10, 10, label, probabilities)


def changes() -> list[Change]:
    before = [(0.8, 0.1, 0.1), (0.2, 0.7, 0.1), (0.4, 0.5, 0.1), (0.1, 0.1, 0.8)]
    after = [(0.7, 0.2, 0.1), (0.6, 0.3, 0.1), (0.3, 0.6, 0.1), (0.1, 0.1, 0.8)]
    labels = [0, 1, 1, 2]
    return [
        Change(score(n, one, label), score(n, other, label))
        for n, (one, other, label) in enumerate(zip(before, after, labels, strict=True))
    ]


def test_how_far_answers_move() -> None:
    (sticker, background) = summarise_changes({"sticker": changes(), "background": []}, CLASSES, 50, 0)
    assert background == {"name": "background", "images": 0}
    assert (sticker["name"], sticker["images"]) == ("sticker", 4)
    assert sticker["decisions_changed"]["value"] == pytest.approx(1 / 4)
    assert sticker["probability_change"]["melanoma"]["value"] == pytest.approx((0.1 + 0.4 + 0.1) / 4)
    assert sticker["probability_change_of_cases"]["melanoma"]["value"] == pytest.approx((-0.4 + 0.1) / 2)
    assert sticker["probability_change"]["keratosis"]["value"] == 0
    # Melanoma's cases lead both others before and after.
    assert sticker["auc_change"]["melanoma_auc"]["value"] == pytest.approx(0)
    assert sticker["auc_change"]["mean_auc"]["value"] == pytest.approx(0)
    estimate = sticker["decisions_changed"]
    assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_auc_falls_by_what_the_changed_probabilities_lose() -> None:
    before = [score(n, (1 - p, p, 0.0), label) for n, (p, label) in enumerate([(0.9, 1), (0.8, 1), (0.2, 0), (0.1, 0)])]
    after = [
        each._replace(probabilities=(1 - p, p, 0.0)) for each, p in zip(before, (0.15, 0.8, 0.2, 0.1), strict=True)
    ]
    changed = [Change(*pair) for pair in zip(before, after, strict=True)]
    (found,) = summarise_changes({"sticker": changed}, CLASSES, 0, 0)
    assert found["auc_change"]["melanoma_auc"]["value"] == pytest.approx(0.75 - 1)
    assert found["auc_change"]["keratosis_auc"] is None


def test_images_without_a_label_have_no_auc_but_answers_that_move() -> None:
    bare = [Change(*(each._replace(label=None) for each in change)) for change in changes()]
    (found,) = summarise_changes({"sticker": bare}, CLASSES, 10, 0)
    assert "auc_change" not in found
    assert found["decisions_changed"]["value"] == 0.25
    assert found["probability_change_of_cases"]["melanoma"] is None
