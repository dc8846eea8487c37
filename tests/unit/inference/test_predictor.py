from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mbdcnn.errors import UserError
from mbdcnn.inference.interpret import _uncertainty, interpret
from mbdcnn.inference.networks import load_model
from mbdcnn.inference.prediction import DRAWN_SIDE
from mbdcnn.inference.predictor import Predictor, batches
from mbdcnn.inference.probabilities import softmax
from mbdcnn.inference.protocol import run_protocol

random = np.random.default_rng(0)
ARRAY = random.integers(0, 256, (44, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_a_prediction_is_of_the_images_size_and_adds_up(predictor: Predictor, protocol) -> None:
    prediction = predictor.predict(ARRAY, protocol)
    assert prediction.mask.shape == prediction.coarse_mask.shape == prediction.mask_probability.shape == (44, 60)
    assert np.array_equal(prediction.mask, prediction.mask_probability > 0.5)
    assert prediction.cam.shape == (2, 2)
    assert prediction.cam.max() <= 1 + 1e-6
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert list(prediction.probabilities) == ["nevus", "melanoma", "seborrheic_keratosis"]
    assert prediction.probabilities[prediction.decision] == max(prediction.probabilities.values())
    assert json.loads(json.dumps(prediction.to_dict()))["protocol"] == protocol
    assert 0 <= prediction.uncertainty.entropy <= 1
    assert (prediction.uncertainty.disagreement is None) == (protocol == "fast")


def test_fast_is_what_the_composed_networks_say(predictor: Predictor, bundle) -> None:
    square = random.integers(0, 256, (32, 32, 3), np.uint8)
    with torch.inference_mode():
        outputs = load_model(bundle)(torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255)
    prediction = predictor.predict(square)
    temperature = bundle.calibration("fast").temperature
    assert abs(temperature - 1) > 0.05
    probabilities = (outputs.class_logits / temperature).softmax(1)[0]
    assert list(prediction.probabilities.values()) == pytest.approx(probabilities.tolist(), abs=1e-4)
    lesion = outputs.mask_logits.softmax(1)[0, 1].numpy()
    assert np.allclose(prediction.mask_probability, lesion, atol=1e-4)
    assert np.array_equal(prediction.coarse_mask, outputs.coarse_logits[0].argmax(0).numpy() == 1)


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_decisions_are_those_of_the_protocols_thresholds(predictor: Predictor, bundle, protocol) -> None:
    prediction = predictor.predict(ARRAY, protocol)
    points = bundle.calibration(protocol).operating_points
    assert list(prediction.decisions) == ["melanoma at 80% sensitivity", "melanoma at 95% sensitivity"]
    for point in points:
        assert prediction.decisions[point.name] == (prediction.probabilities["melanoma"] >= point.threshold)
    assert json.loads(json.dumps(prediction.to_dict()))["decisions"] == prediction.decisions


def test_noise_is_stranger_than_what_the_model_learnt_from(predictor: Predictor, data) -> None:
    usual = [predictor.predict(np.asarray(data.patches[row.views[0]])) for row in data.split("validation")]
    assert np.mean([bool(each.looks_like_dermoscopy) for each in usual]) >= 0.75
    noise = predictor.predict(ARRAY)
    assert noise.ood_score > max(each.ood_score for each in usual)
    assert noise.looks_like_dermoscopy is False
    assert noise.to_dict()["looks_like_dermoscopy"] is False


def test_every_way_to_give_an_image_gives_the_same(predictor: Predictor, tmp_path) -> None:
    file = tmp_path / "lesion.png"
    Image.fromarray(ARRAY).save(file)
    expected = predictor.predict(ARRAY)
    transparent = Image.fromarray(ARRAY).convert("RGBA")
    opaque = np.asarray(transparent)
    for image in (file, str(file), file.read_bytes(), Image.fromarray(ARRAY), transparent, opaque):
        assert np.array_equal(predictor.predict(image).mask_probability, expected.mask_probability)


def test_an_image_is_taken_as_a_file_of_it_would_be(predictor: Predictor, tmp_path) -> None:
    """Transparency, 16 bit, palettes and EXIF must not depend on who opened the file."""
    deep = Image.fromarray((random.random((44, 60)) * 65535).astype(np.uint16))
    layer = Image.fromarray(np.dstack([ARRAY, np.full((44, 60), 100, np.uint8)]))
    for number, image in enumerate((deep, layer)):
        image.save(tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as opened:
            given = predictor.predict(opened)
        read = predictor.predict(tmp_path / f"{number}.png")
        assert np.array_equal(given.mask_probability, read.mask_probability)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(ARRAY).save(tmp_path / "turned.jpg", exif=turned)
    with Image.open(tmp_path / "turned.jpg") as opened:
        assert predictor.predict(opened).mask.shape == predictor.predict(tmp_path / "turned.jpg").mask.shape == (60, 44)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2), (17, 16)])
def test_any_size_works(predictor: Predictor, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (200, 120, 90))
    for protocol in ("fast", "paper"):
        prediction = predictor.predict(image, protocol)  # type: ignore[arg-type]
        assert prediction.mask.shape == size[::-1]
        assert np.isfinite(prediction.mask_probability).all()


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), bool), np.zeros((4, 4, 3)), np.zeros((4, 4, 5), np.uint8), np.zeros((3, 0, 3), np.uint8)],
)
def test_other_arrays_are_refused(predictor: Predictor, array: np.ndarray) -> None:
    with pytest.raises(UserError, match="expected uint8, height x width for grey, or height x width x 3 or 4"):
        predictor.predict(array)


def test_grey_and_transparent_arrays_are_taken_as_images_of_them(predictor: Predictor) -> None:
    grey = ARRAY[..., 0]
    expected = predictor.predict(np.dstack([grey] * 3))
    assert np.array_equal(predictor.predict(grey).mask_probability, expected.mask_probability)
    half = np.dstack([ARRAY, np.full(ARRAY.shape[:2], 128, np.uint8)])
    darker = predictor.predict(Image.fromarray(half))
    assert np.array_equal(predictor.predict(half).mask_probability, darker.mask_probability)
    assert not np.array_equal(darker.mask_probability, predictor.predict(ARRAY).mask_probability)


def test_what_is_no_image_is_refused(predictor: Predictor, tmp_path) -> None:
    for image in (b"nothing", tmp_path / "absent.jpg"):
        with pytest.raises(UserError):
            predictor.predict(image)
    with pytest.raises(UserError, match=r"^int: not an image; give a file, its bytes"):
        predictor.predict(7)
    with pytest.raises(UserError, match=r"^Tensor: not an image"):
        predictor.predict([torch.zeros(3, 8, 8)])


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_several_are_predicted_as_each_is_alone(predictor: Predictor, tmp_path, protocol) -> None:
    file = tmp_path / "lesion.png"
    Image.fromarray(ARRAY[:, ::-1]).save(file)
    images = [ARRAY, file, Image.fromarray(ARRAY[::-1]), str(file), *[ARRAY] * 6]
    several = predictor(images, protocol)
    assert len(several) == len(images)
    for image, prediction in zip(images, several, strict=True):
        alone = predictor(image, protocol)
        assert np.allclose(prediction.mask_probability, alone.mask_probability, atol=1e-5)
        assert prediction.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert np.array_equal(prediction.image, alone.image)
        assert prediction.file == alone.file == (str(file) if isinstance(image, str | Path) else None)
    stacked = predictor(np.stack([ARRAY, ARRAY[::-1]]))
    assert [each.mask.shape for each in stacked] == [ARRAY.shape[:2]] * 2
    assert predictor([]) == []


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_the_model_s_own_mask_given_back_changes_nothing(predictor: Predictor, protocol) -> None:
    # Wide enough for crops with an aspect of their own. On the paper's way each crop has a mask of its own otherwise.
    own = predictor.predict(ARRAY, protocol)
    again = predictor.predict(ARRAY, protocol, coarse_mask=own.coarse_mask)
    assert (own.coarse_mask_source, again.coarse_mask_source) == ("model", "given")
    assert np.array_equal(again.coarse_mask, own.coarse_mask)
    if protocol == "fast":
        assert again.probabilities == pytest.approx(own.probabilities, abs=1e-6)
        assert np.allclose(again.mask_probability, own.mask_probability, atol=1e-5)
    else:
        assert np.allclose(again.cam, own.cam, atol=1e-5)
        assert np.allclose(again.mask_probability, own.mask_probability, atol=1e-5)


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_what_follows_from_a_given_mask(
    predictor: Predictor, bundle, protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((44, 60), bool)
    mask[5:30, 10:41] = True

    def asked(pixels):
        pytest.fail("coarse-SN was asked")

    monkeypatch.setattr(predictor.core, "coarse", asked)
    prediction = predictor.predict(ARRAY, protocol, coarse_mask=mask)
    assert np.array_equal(prediction.coarse_mask, mask)
    assert prediction.to_dict()["coarse_mask_source"] == "given"
    inputs = predictor.read(ARRAY, protocol)
    crops = [mask[box.upper : box.lower, box.left : box.right] for box in inputs.boxes]
    assert len({crop.shape for crop in crops}) == (1 if protocol == "fast" else 3)
    small = [np.asarray(Image.fromarray(crop).resize((32, 32), Image.Resampling.NEAREST)) for crop in crops]
    with torch.inference_mode():
        pixels = torch.from_numpy(inputs.patches).permute(0, 3, 1, 2).float() / 255
        guidance = load_model(bundle).guide(pixels, torch.from_numpy(np.stack(small))[:, None].float())
    temperature = bundle.calibration(protocol).temperature
    expected = (guidance.class_logits / temperature).softmax(1)[list(inputs.views)].mean(0)
    assert list(prediction.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert np.allclose(prediction.cam, guidance.activation_maps[0, 0].numpy(), atol=1e-4)


def test_masks_of_several_images_are_each_its_own(predictor: Predictor) -> None:
    masks = [None, np.ones((44, 60), bool), None]
    images = [ARRAY, ARRAY[:, ::-1], ARRAY[::-1]]
    together = predictor.predict(images, coarse_mask=masks)
    assert [each.coarse_mask_source for each in together] == ["model", "given", "model"]
    for prediction, image, mask in zip(together, images, masks, strict=True):
        alone = predictor.predict(np.ascontiguousarray(image), coarse_mask=mask)
        assert prediction.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert np.array_equal(prediction.coarse_mask, alone.coarse_mask)
    for wrong in (masks[:2], [*masks, None]):
        with pytest.raises(UserError, match="as many coarse masks as images"):
            predictor.predict(images, coarse_mask=wrong)
    with pytest.raises(UserError, match="several images and one coarse mask"):
        predictor.predict(images, coarse_mask="mask.png")
    with pytest.raises(UserError, match="points and box are of one image"):
        predictor.predict(images, points=[(1, 1, 1)])


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_a_prompt_moves_the_model_s_mask_or_the_given_one(predictor: Predictor, protocol) -> None:
    own = predictor.predict(ARRAY, protocol)
    inside = not own.coarse_mask[20, 30]
    prompted = predictor.predict(ARRAY, protocol, points=[(30, 20, inside)])
    assert prompted.coarse_mask_source == "prompted"
    assert prompted.coarse_mask[20, 30] == inside
    mask = np.zeros((44, 60), bool)
    mask[10:20, 10:20] = True
    kept = predictor.predict(ARRAY, protocol, coarse_mask=mask, points=[(15, 15, 1)])
    assert kept.coarse_mask_source == "prompted"
    assert (kept.coarse_mask != mask).mean() < 0.05
    boxed = predictor.predict(ARRAY, protocol, box=(8, 8, 30, 30))
    assert boxed.coarse_mask.any()
    assert not boxed.coarse_mask[32:].any()
    assert not boxed.coarse_mask[:, 32:].any()


def test_what_does_not_fit_the_image_is_refused(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="44 x 60 pixels, and its image 60 x 44"):
        predictor.predict(ARRAY, coarse_mask=np.ones((60, 44), bool))
    with pytest.raises(UserError, match="points: number 1"):
        predictor.predict(ARRAY, points=[(60, 3, 1)])


def test_a_mask_is_of_the_image_as_it_is_shown(predictor: Predictor, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ARRAY).save(tmp_path / "turned.png", exif=exif)
    mask = np.ones((60, 44), bool)
    prediction = predictor.predict(tmp_path / "turned.png", coarse_mask=mask)
    assert prediction.coarse_mask.shape == (60, 44)
    with pytest.raises(UserError, match="turned by its EXIF orientation"):
        predictor.predict(tmp_path / "turned.png", coarse_mask=mask.T)


def test_millimetres_where_the_file_says_them(predictor: Predictor, tmp_path) -> None:
    from dataclasses import replace

    from dicom_files import lesion, photograph

    (tmp_path / "scan.dcm").write_bytes(photograph(lesion(), PixelSpacing=[0.5, 0.25]))
    prediction = predictor.predict(tmp_path / "scan.dcm")
    assert prediction.pixel_spacing == (0.5, 0.25)
    mask = np.zeros((44, 60), bool)
    mask[10:16, 20:36] = True
    known = replace(prediction, mask=mask).to_dict()
    assert known["area_pixels"] == 96
    assert known["area_square_millimetres"] == pytest.approx(96 * 0.125)
    assert known["longest_diameter"]["pixels"] == pytest.approx(np.hypot(6, 16), abs=0.01)
    assert known["longest_diameter"]["millimetres"] == pytest.approx(5)
    assert known["pixel_spacing"] == [0.5, 0.25]
    plain = replace(prediction, mask=mask, pixel_spacing=None).to_dict()
    assert (plain["pixel_spacing"], plain["area_square_millimetres"]) == (None, None)
    assert plain["longest_diameter"]["millimetres"] is None
    assert replace(prediction, mask=np.zeros((44, 60), bool)).to_dict()["longest_diameter"] is None


def test_one_that_cannot_be_read_stops_the_others_and_is_named(predictor: Predictor, tmp_path) -> None:
    with pytest.raises(UserError, match=r"absent\.jpg: no such file"):
        predictor([ARRAY, tmp_path / "absent.jpg", ARRAY])


def test_before_calibration_are_the_probabilities_of_a_temperature_of_1(predictor: Predictor) -> None:
    inputs = predictor.read(ARRAY, "paper")
    (outcome,) = run_protocol(predictor.core, [inputs], "paper")
    (prediction,) = predictor.predict_inputs([inputs], "paper")
    assert prediction.uncalibrated is not None
    assert list(prediction.uncalibrated.values()) == pytest.approx(softmax(outcome.view_logits).mean(axis=0), abs=1e-12)
    assert prediction.uncalibrated != prediction.probabilities
    plain = interpret(outcome, predictor.classes, "paper", None, None)
    assert plain.uncalibrated is None
    assert plain.probabilities == prediction.uncalibrated


def test_a_user_s_own_image_is_not_changed(predictor: Predictor) -> None:
    image = Image.fromarray(ARRAY).resize((2400, 100))
    before = image.tobytes()
    prediction = predictor.predict(image)
    assert prediction.image is not None
    assert prediction.image.shape[1] == DRAWN_SIDE
    assert (image.size, image.tobytes()) == ((2400, 100), before)


def test_it_says_what_it_is(predictor: Predictor, bundle) -> None:
    assert repr(predictor) == f"<Predictor of {bundle.path} on torch>"


def test_a_box_round_the_lesion(predictor: Predictor) -> None:
    from dataclasses import replace

    mask = np.zeros((44, 60), bool)
    empty = replace(predictor.predict(ARRAY), mask=mask)
    assert empty.bounding_box is None
    assert (empty.area_fraction, empty.to_dict()["bounding_box"]) == (0, None)
    mask = mask.copy()
    mask[10:30, 5:6] = True
    mask[12, 40] = True
    boxed = replace(empty, mask=mask)
    assert boxed.bounding_box == (5, 10, 41, 30)
    assert boxed.area_fraction == 21 / (44 * 60)


def test_a_changed_weight_file_is_not_loaded(bundle, tmp_path) -> None:
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(bundle.path, copy)
    weights = bytearray((copy / "coarse.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "coarse.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"coarse\.safetensors: damaged"):
        Predictor.load(copy)


def test_uncertainty_in_known_cases() -> None:
    sure, torn = np.array([[1.0, 0.0, 0.0]]), np.full((2, 3), 1 / 3)
    lesion = np.array([[0.01, 0.1, 0.5, 0.9]], np.float32)
    assert _uncertainty(sure, sure[0], lesion) == (0, 0.5, None)
    assert _uncertainty(torn, torn[0], np.zeros((2, 2), np.float32)) == (1, 0, 0)
    apart = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert _uncertainty(apart, apart.mean(axis=0), lesion).disagreement == pytest.approx(0.5)


def test_softmax_of_large_logits_is_finite() -> None:
    assert softmax(np.array([[1000.0, 1000.0, -1000.0]], np.float32)).tolist() == [[0.5, 0.5, 0.0]]


def test_batches_keep_everything_in_order() -> None:
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(iter(()))) == []
