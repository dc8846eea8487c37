from __future__ import annotations

import warnings
from pathlib import Path
from xml.etree import ElementTree

import openvino
import pytest
import torch
from torch import nn

from mbdcnn.inference import mixed
from mbdcnn.inference.mixed import read_mixed

BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dense convolutions between a stem, a depthwise one, and logits that are enlarged."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.ReLU(),
        nn.Conv2d(64, 96, 1),
        nn.ReLU(),
        nn.Conv2d(96, 2, 1),
        nn.Upsample(scale_factor=4, mode="bilinear", align_corners=True),
    )
    file = tmp_path_factory.mktemp("graphs") / "graph.onnx"
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(network.eval(), (torch.rand(1, 3, 16, 16),), file, dynamo=False)
    return file


def test_dense_convolutions_and_their_weights_alone_are_left_unmarked(graph: Path, monkeypatch) -> None:
    marked: list[bytes] = []
    original = mixed._marked
    monkeypatch.setattr(mixed, "_marked", lambda text: marked.append(original(text)) or marked[0])
    read_mixed(openvino.Core(), graph)
    root = ElementTree.fromstring(marked[0])
    kinds = [
        layer.get("type")
        for layer in root.iterfind("layers/layer")
        if layer.find("rt_info/attribute[@name='precise']") is None
    ]
    assert sorted(kinds) == ["Const", "Const", "Convolution", "Convolution"]


@pytest.mark.skipif(not BF16, reason="this CPU does not compute in bfloat16")
def test_only_those_are_computed_in_bfloat16(graph: Path) -> None:
    core = openvino.Core()
    model = core.compile_model(read_mixed(core, graph), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    told = [layer.get_rt_info() for layer in model.get_runtime_model().get_ordered_ops()]
    convolutions = [each for each in told if each["layerType"].astype(str) == "Convolution"]
    precisions = [each["runtimePrecision"].astype(str) for each in convolutions]
    assert precisions == ["f32", "bf16", "f32", "bf16", "f32"]


@pytest.mark.skipif(not BF16, reason="this CPU does not compute in bfloat16")
def test_the_results_are_nearer_than_those_of_bfloat16_throughout(graph: Path) -> None:
    core, pixels = openvino.Core(), torch.rand(1, 3, 16, 16).numpy()

    def logits(model, precision: str):
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        return next(iter(compiled(pixels).values()))

    exact = logits(graph, "f32")
    mixed_apart, rough_apart = (abs(logits(model, "bf16") - exact).max() for model in (read_mixed(core, graph), graph))
    assert 0 < mixed_apart < rough_apart
