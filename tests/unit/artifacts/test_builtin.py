"""The model that comes with the package: whole, small, of no machine, and of use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.builtin import bundled_model, find_bundle, open_model
from mbdcnn.bundling.card import UNMEASURED
from mbdcnn.cli import main
from mbdcnn.config import load_config
from mbdcnn.data.synthetic import draw
from mbdcnn.errors import UserError
from mbdcnn.inference.hub import find_model
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.predictor import Predictor
from mbdcnn.info import describe
from mbdcnn.training.start import Start, find_start

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(device="cpu")


def test_it_is_whole_and_small() -> None:
    bundle = Bundle.open(bundled_model(), verify=True)
    assert sum(file.stat().st_size for file in bundle.path.rglob("*")) <= 45 * MEGABYTE
    assert bundle.provenance.facts["half"]


def test_it_names_no_file_of_the_machine_that_made_it() -> None:
    config = Bundle.open(bundled_model()).config
    assert {config.coarse.initial_weights, config.classifier.initial_weights, config.enhanced.initial_weights} == {None}
    folder = bundled_model()
    for name in (Bundle.filename, "config.yaml", "README.md"):
        assert "/home" not in (folder / name).read_text()
        assert "/tmp" not in (folder / name).read_text()


def test_its_card_says_how_well_it_does_and_for_what() -> None:
    card = (bundled_model() / "README.md").read_text()
    assert UNMEASURED not in card
    for said in ("Not a medical", "ISIC-2017", "mbdcnn evaluate", "Apache", "CC-0", "CC BY-NC 4.0", "dark skin"):
        assert said in card


@pytest.mark.parametrize("protocol", ["fast", "paper"])
def test_it_is_calibrated(predictor: Predictor, protocol: ProtocolName) -> None:
    calibration = predictor.bundle.calibration(protocol)
    assert calibration is not None
    assert {point.target for point in calibration.operating_points} == {0.8, 0.9, 0.95}


def test_it_outlines_drawn_lesions(predictor: Predictor) -> None:
    """They are no real ones, but round, dark and in the middle: whoever misses them is broken."""
    random = np.random.default_rng(0)
    scores = []
    for kind in ("nevus", "melanoma", "seborrheic_keratosis"):
        image, truth = draw(random, kind, (300, 220))
        lesion, mask = np.asarray(truth) > 0, predictor.predict(image).mask
        scores.append((mask & lesion).sum() / (mask | lesion).sum())
    assert min(scores) > 0.5


def test_it_says_that_noise_is_no_dermoscopy(predictor: Predictor) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (220, 300, 3), np.uint8)
    assert predictor.predict(noise).looks_like_dermoscopy is False


def test_its_name_goes_wherever_a_model_or_configuration_does() -> None:
    model = Bundle.open(bundled_model())
    assert open_model("bundled") == open_model(None) == model
    assert find_model("bundled") == find_bundle("bundled") == model.path
    assert Predictor.load("bundled", device="cpu").bundle == model
    assert load_config("bundled") == model.config
    assert describe("bundled")["kind"] == "Bundle"


@pytest.mark.slow
def test_every_command_that_takes_a_model_takes_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (44, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "own.csv").write_text("image,label,split\na.png,nevus,test\n")
    data, on_cpu = tmp_path / "data", "--device cpu --runtime torch -q"
    for line in (
        f"predict {tmp_path / 'a.png'} --model bundled --out {tmp_path / 'out'} {on_cpu}",
        f"export bundled --format torch --out {tmp_path / 'exported'} -q",
        f"prepare {tmp_path / 'own.csv'} {data} --config bundled -q",
        f"evaluate --data {data} --model bundled --compare bundled --out {tmp_path / 'report'} {on_cpu}",
        "info bundled -q",
    ):
        with pytest.raises(SystemExit) as end:
            main(line.split())
        assert end.value.code == 0, capsys.readouterr().err


def start_of(path: str) -> Start | None:
    return find_start("coarse", load_config(None, [f"coarse.initial_weights={path}"]))


@pytest.mark.parametrize("use", [find_bundle, open_model, load_config, Predictor.load, describe, start_of])
def test_a_model_here_of_the_same_name_is_not_passed_over(use, bundle, tmp_path: Path, monkeypatch) -> None:
    bundle.copy_to(tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="bundled: names the model that comes with mbdcnn, but there is one in") as told:
        use("bundled")
    path = str(told.value).rpartition(" ")[2]
    assert path == str(tmp_path / "bundled")
    assert use(path)


def test_the_shipped_model_knows_its_training_images_by_their_pixels_too() -> None:
    shipped = open_model("bundled")
    assert (len(shipped.seen("training").ids), len(shipped.seen("training").pixels)) == (13480, 13477)
    assert (len(shipped.seen("selection").ids), len(shipped.seen("selection").pixels)) == (150, 150)
