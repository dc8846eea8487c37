from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from mbdcnn.config import Data, Views
from mbdcnn.data.crops import view_boxes
from mbdcnn.errors import UserError
from mbdcnn.inference import runtimes
from mbdcnn.inference.networks import load_model
from mbdcnn.inference.protocol import ClassifierOutput, inputs_of_image, inputs_of_row, run_protocol
from mbdcnn.inference.runtimes import TorchCore, TorchNetwork, channels_first
from mbdcnn.models import guide
from mbdcnn.system.device import choose_device
from mbdcnn.system.rates import MatrixRates

CPU = torch.device("cpu")
random = np.random.default_rng(0)


def test_large_batches_are_cut_up_and_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def network(images: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(images))
        assert masks.dtype == torch.float32
        return images * 255, images.mean((1, 2, 3)) + masks.sum((1, 2, 3))

    monkeypatch.setattr(runtimes, "LARGEST_BATCH", 4)
    pixels = random.integers(0, 256, (9, 16, 16, 3), np.uint8)
    masks = random.random((9, 1, 16, 16)) > 0.5
    same, sums = TorchNetwork(network, CPU)(channels_first(pixels), masks)
    assert sizes == [4, 4, 1]
    assert np.allclose(same, channels_first(pixels))
    assert np.allclose(sums, pixels.mean((1, 2, 3)) / 255 + masks.sum((1, 2, 3)), atol=1e-4)


def test_the_core_runs_the_three_networks_of_the_bundle(bundle) -> None:
    model = load_model(bundle)
    core = TorchCore(load_model(bundle), CPU)
    pixels = random.integers(0, 256, (2, 32, 32, 3), np.uint8)
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float() / 255
    with torch.inference_mode():
        outputs = model(images)
        masks = outputs.coarse_logits.argmax(1, keepdim=True).float()
        again = guide(model.classifier, images, masks, bundle.config.cam)
    coarse = core.coarse(pixels)
    assert np.allclose(coarse, outputs.coarse_logits, atol=1e-4)
    guidance = core.classify(pixels, coarse[:, 1] > coarse[:, 0])
    assert np.allclose(guidance.logits, outputs.class_logits, atol=1e-4)
    assert np.allclose(guidance.activation_maps, again.activation_maps, atol=1e-4)
    assert np.allclose(guidance.embedding, outputs.embedding, atol=1e-4)
    assert np.allclose(core.enhance(pixels, guidance.activation_maps), outputs.mask_logits, atol=1e-4)


class CountingCore:
    """Networks that answer by simple rules and remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def coarse(self, pixels):
        self.asked.append(("coarse", len(pixels)))
        grey = pixels.astype(np.float32).mean(axis=3) / 255
        return np.stack([np.full_like(grey, 0.5), grey], axis=1)

    def classify(self, pixels, masks):
        self.asked.append(("classify", len(pixels)))
        shares = pixels.astype(np.float32).mean(axis=(1, 2)) / 64 + masks.mean(axis=(1, 2), dtype=np.float32)[:, None]
        maps = pixels[:, ::16, ::16, :1].transpose(0, 3, 1, 2).astype(np.float32)
        return ClassifierOutput(shares, maps, shares)

    def enhance(self, pixels, activation_maps):
        self.asked.append(("enhance", len(pixels)))
        grey = pixels.astype(np.float32).mean(axis=3) / 255
        lesion = grey + activation_maps.repeat(16, 2).repeat(16, 3)[:, 0, : grey.shape[1], : grey.shape[2]] / 999
        return np.stack([1 - lesion, lesion], axis=1)


SETTINGS = Data(image_size=32, scales=(32, 48, 64), views=Views(fractions=(4, 3)))


def image(width: int, height: int):
    from PIL import Image

    return Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))


def test_views_that_coincide_are_computed_once_and_count_as_often_as_they_stand() -> None:
    square = image(60, 60)
    inputs = inputs_of_image(square, SETTINGS, "paper")
    core = CountingCore()
    (outcome,) = run_protocol(core, [inputs], "paper")
    assert core.asked[:2] == [("coarse", 6 * 3), ("classify", 3)]
    assert outcome.view_logits.shape == (5, 3)
    boxes = view_boxes(60, 60, (4, 3))
    from dataclasses import replace

    from mbdcnn.data.crops import views_of_image
    from mbdcnn.data.images.decoding import Decoded

    every = replace(inputs, patches=np.stack(views_of_image(Decoded.whole(square), boxes, 32)), views=tuple(range(5)))
    (slow,) = run_protocol(CountingCore(), [every], "paper")
    assert np.allclose(outcome.view_logits, slow.view_logits)
    assert np.allclose(outcome.lesion_logits(), slow.lesion_logits())


def test_fast_is_one_view_of_each_network_and_paper_all() -> None:
    images = [image(60, 44), image(20, 90)]
    for looked_at in ("fast", "paper"):  # more than it takes is no obstacle
        core = CountingCore()
        inputs = [inputs_of_image(each, SETTINGS, looked_at) for each in images]
        outcomes = list(run_protocol(core, inputs, "fast"))
        assert core.asked == [("coarse", 2), ("classify", 2), ("enhance", 2)]
        assert [outcome.lesion_logits().shape for outcome in outcomes] == [(44, 60), (90, 20)]
        assert [len(outcome.view_logits) for outcome in outcomes] == [1, 1]
    core = CountingCore()
    list(run_protocol(core, inputs[:1], "paper"))
    assert core.asked == [("coarse", 30), ("classify", 5), *[("classify", 6), ("enhance", 6)] * 3]


def test_a_batch_gives_what_each_image_alone_gives() -> None:
    images = [image(60, 44), image(33, 33)]
    for protocol in ("fast", "paper"):
        inputs = [inputs_of_image(each, SETTINGS, protocol) for each in images]
        together = run_protocol(CountingCore(), inputs, protocol)
        alone = [next(iter(run_protocol(CountingCore(), [each], protocol))) for each in inputs]
        for one, other in zip(together, alone, strict=True):
            assert np.allclose(one.lesion_logits(), other.lesion_logits())
            assert np.allclose(one.view_logits, other.view_logits)


def test_prepared_images_look_as_the_images_they_were_prepared_from(data, raw) -> None:
    from mbdcnn.data.images.decoding import decode

    settings = Data.model_validate(data.provenance.settings["data"])
    for row in [row for row in data.rows if row.split == "test"]:
        fresh = inputs_of_image(decode(raw / row.source), settings, "paper")
        stored = inputs_of_row(data, row, settings)
        assert np.array_equal(stored.patches, fresh.patches)
        assert stored.views == fresh.views
        assert (stored.width, stored.height) == (fresh.width, fresh.height)
        assert stored.scales.keys() == fresh.scales.keys() == {32, 48}
        assert all(np.array_equal(stored.scales[side], fresh.scales[side]) for side in fresh.scales)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:a", "", "mps"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="give auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cpu") == CPU
    with pytest.raises(UserError, match="this machine has 2 CUDA devices"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU


ONNX = {"onnx", "onnxruntime"}
PLAIN, MATRIX_UNITS = MatrixRates(1e11, 2e11), MatrixRates(1e11, 3e11)


@pytest.mark.parametrize(
    ("device", "installed", "gpu", "rates", "runtime"),
    [
        ("cpu", ONNX, True, PLAIN, "onnx"),
        ("auto", ONNX, False, PLAIN, "onnx"),
        ("auto", ONNX, True, PLAIN, "torch"),
        ("cuda:1", ONNX, True, PLAIN, "torch"),
        ("cpu", {"onnxruntime", "openvino"}, False, PLAIN, "torch"),
        ("cpu", set(), False, PLAIN, "torch"),
        ("cpu", {*ONNX, "openvino"}, False, PLAIN, "onnx"),
        ("cpu", {*ONNX, "openvino"}, False, None, "onnx"),
        ("cpu", {*ONNX, "openvino"}, False, MATRIX_UNITS, "openvino-bf16"),
        ("auto", {*ONNX, "openvino"}, True, MATRIX_UNITS, "torch"),
        ("cpu", ONNX, False, MATRIX_UNITS, "onnx"),
    ],
)
def test_left_to_itself_it_takes_what_is_fastest_of_what_is_installed(
    device: str,
    installed: set[str],
    gpu: bool,
    rates: MatrixRates | None,
    runtime: str,
    bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str]] = []
    load = runtimes.load_core

    def loading(of, name: str, where: str):
        asked.append((name, where))
        return load(of, name, where) if name == "auto" else None

    monkeypatch.setattr(runtimes, "load_core", loading)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: object() if name in installed else None)
    monkeypatch.setattr(runtimes, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(runtimes, "remembered_rates", lambda: None)
    monkeypatch.setattr(runtimes, "can_be_written", lambda folder: rates is not None)
    monkeypatch.setattr(runtimes, "matrix_rates", lambda: rates)
    runtimes.load_core(bundle, "auto", device)
    assert asked[1:] == [(runtime, device if runtime == "torch" else "cpu")]


def test_rates_that_are_known_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: object())
    monkeypatch.setattr(runtimes, "remembered_rates", lambda: MATRIX_UNITS)
    monkeypatch.setattr(runtimes, "matrix_rates", None)
    assert runtimes._has_matrix_units()


def test_what_does_not_start_leaves_the_next_best(bundle, monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    load = runtimes.load_core

    def refusing(of, name: str, where: str):
        if name == "openvino-bf16":
            raise RuntimeError("Exception from src/core.cpp:132:\nno such thing")
        return load(of, name, where) if name == "auto" else name

    monkeypatch.setattr(runtimes, "load_core", refusing)
    monkeypatch.setattr(runtimes, "_has_matrix_units", lambda: True)
    assert runtimes.load_core(bundle, "auto", "cpu") == "onnx"
    assert caplog.messages == ["runtime openvino-bf16: no such thing; the runtime is onnx"]


def test_a_compiled_network_serves_several_threads(bundle) -> None:
    core = runtimes.load_core(bundle, "openvino", "cpu")
    pixels = random.integers(0, 256, (4, 32, 32, 3), np.uint8)
    expected = core.coarse(pixels)
    with ThreadPoolExecutor(4) as pool:
        for logits in pool.map(core.coarse, [pixels] * 40):
            assert np.array_equal(logits, expected)


def test_what_is_compiled_is_not_kept_where_nothing_can_be_written(bundle, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path))
    monkeypatch.setattr(runtimes, "can_be_written", lambda folder: False)
    runtimes.load_core(bundle, "openvino", "cpu")
    assert not [*tmp_path.rglob("openvino")]
    monkeypatch.undo()
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path))
    runtimes.load_core(bundle, "openvino", "cpu")
    assert [*tmp_path.rglob("openvino/*")]


def test_a_gpu_is_asked_for_only_where_there_is_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(runtimes, "_DRIVERS", ("/absent",))
    monkeypatch.setattr(runtimes, "which", lambda name: None)
    assert not runtimes._has_gpu()
    monkeypatch.setattr(runtimes, "which", lambda name: "/usr/bin/nvidia-smi")
    assert runtimes._has_gpu()
    monkeypatch.setattr(runtimes, "choose_device", lambda name: CPU)
    assert not runtimes._has_gpu()


def test_graphs_that_cannot_be_made_are_told_and_torch_runs(
    bundle, tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path / "file"))
    assert runtimes.load_core(bundle, "auto", "cpu").runtime == "torch"
    assert "set MBDCNN_CACHE to a folder that can be written; the runtime is torch" in caplog.messages[-1]
