"""Published checkpoints into our networks: by name, with a report of every tensor."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lite_weights import published_shapes
from mbdcnn.config import ClassificationNetwork, SegmentationNetwork
from mbdcnn.errors import UserError
from mbdcnn.models import CoarseSegmenter, EnhancedSegmenter, MaskGuidedClassifier
from mbdcnn.models.checkpoints import identify, import_state_dict
from mbdcnn.models.weights import import_weights, load_weights, read_state_dict, save_weights

WIDTH = 0.1
# Blocks of MobileNetV2: expansion, channels, repeats.
STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) + 0.1


def norm(name: str, channels: int) -> dict[str, torch.Tensor]:
    vectors = {f"{name}.{part}": random(channels) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": torch.tensor(7)}


def mobilenet_state() -> dict[str, torch.Tensor]:
    """Torchvision's names and shapes at width 1, written down independently of our network."""
    state = {"features.0.0.weight": random(32, 3, 3, 3), **norm("features.0.1", 32)}
    channels, number = 32, 0
    for expansion, outputs, repeats in STAGES:
        for _ in range(repeats):
            number += 1
            hidden, conv = channels * expansion, f"features.{number}.conv"
            first = 0
            if expansion > 1:
                state |= {f"{conv}.0.0.weight": random(hidden, channels, 1, 1), **norm(f"{conv}.0.1", hidden)}
                first = 1
            state |= {f"{conv}.{first}.0.weight": random(hidden, 1, 3, 3), **norm(f"{conv}.{first}.1", hidden)}
            state |= {f"{conv}.{first + 1}.weight": random(outputs, hidden, 1, 1)}
            state |= norm(f"{conv}.{first + 2}", outputs)
            channels = outputs
    return state


def last_layers() -> dict[str, torch.Tensor]:
    return {
        "features.18.0.weight": random(1280, 320, 1, 1),
        **norm("features.18.1", 1280),
        "classifier.1.weight": random(1000, 1280),
        "classifier.1.bias": random(1000),
    }


def pyramid_layers() -> dict[str, torch.Tensor]:
    convs = {"aspp0": 320, "image_pooling": 320, "concat_projection": 512}
    state = {"logits.weight": random(21, 256, 1, 1), "logits.bias": random(21)}
    for name, inputs in convs.items():
        state |= {f"{name}.0.weight": random(256, inputs, 1, 1), **norm(f"{name}.1", 256)}
    return state


def compact_segmentation(**settings) -> SegmentationNetwork:
    return SegmentationNetwork(backbone="mobilenet_v2", **{"dilations": (), **settings})


def xception_state(two_dimensional: bool) -> dict[str, torch.Tensor]:
    """ImageNet Xception in Cadene's names, at a tenth of its width and without middle blocks 5-10."""
    c = {n: max(8, round(n * WIDTH)) for n in (32, 64, 128, 256, 728, 1024, 1536, 2048)}
    state = {"conv1.weight": random(c[32], 3, 3, 3), "conv2.weight": random(c[64], c[32], 3, 3)}
    state |= {**norm("bn1", c[32]), **norm("bn2", c[64])}
    blocks = {1: (64, 128, (0, 3)), 2: (128, 256, (1, 4)), 3: (256, 728, (1, 4)), 12: (728, 1024, (1, 4))}
    blocks |= {4: (728, 728, (1, 4, 7)), 11: (728, 728, (1, 4, 7))}
    for block, (inputs, outputs, places) in blocks.items():
        if inputs != outputs:
            state |= {f"block{block}.skip.weight": random(c[outputs], c[inputs], 1, 1)}
            state |= norm(f"block{block}.skipbn", c[outputs])
        for place in places:
            ins = c[inputs] if place == places[0] else c[outputs]
            pointwise = random(c[outputs], ins) if two_dimensional else random(c[outputs], ins, 1, 1)
            state |= {f"block{block}.rep.{place}.conv1.weight": random(ins, 1, 3, 3)}
            state |= {f"block{block}.rep.{place}.pointwise.weight": pointwise}
            state |= norm(f"block{block}.rep.{place + 1}", c[outputs])
    state |= {"conv3.conv1.weight": random(c[1024], 1, 3, 3), **norm("bn3", c[1536])}
    return state | {"fc.weight": random(1000, c[2048]), "fc.bias": random(1000)}


def check_complete(report, network, state) -> None:
    """Every tensor of either side is accounted for exactly once."""
    own = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert own == {n for n in (*report.used, *report.initial) if not n.endswith("num_batches_tracked")}
    assert not set(report.used) & set(report.initial)
    assert set(report.dropped) <= set(state)
    summary = report.summary()
    assert f"{len(report.used)} tensors used" in summary
    assert "\n" not in summary


def test_mobilenet_into_the_classifier():
    state = mobilenet_state() | last_layers()
    network = MaskGuidedClassifier(ClassificationNetwork(backbone="mobilenet_v2"), 3)
    report = import_state_dict(network, state)
    check_complete(report, network, state)
    assert set(report.dropped) == {"classifier.1.weight", "classifier.1.bias"}
    assert set(report.initial) == {"head.weight", "head.bias"}
    stem, rgb = network.encoder.features[0][0].weight, state["features.0.0.weight"]
    torch.testing.assert_close(stem[:, :3], rgb)
    torch.testing.assert_close(stem[:, 3], rgb.mean(1))
    own = network.state_dict()
    for name in state.keys() - report.dropped.keys() - {"features.0.0.weight"}:
        torch.testing.assert_close(own[f"encoder.{name}"], state[name], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [CoarseSegmenter, EnhancedSegmenter])
def test_mobilenet_into_a_segmenter(kind):
    state = mobilenet_state() | last_layers()
    network = kind(compact_segmentation(decoder_channels=16))
    report = import_state_dict(network, state)
    check_complete(report, network, state)
    assert {name.split(".")[0] + "." + name.split(".")[1] for name in report.dropped} == {"features.18", "classifier.1"}
    assert not [name for name in report.initial if name.startswith("encoder.")]


@torch.no_grad()
def test_deeplab_mobilenet_pyramid_computes_the_same():
    state = mobilenet_state() | pyramid_layers()
    network = CoarseSegmenter(compact_segmentation(decoder_channels=256)).eval()
    report = import_state_dict(network, state)
    check_complete(report, network, state)
    assert set(report.dropped) == {"logits.weight", "logits.bias"}
    assert {name.split(".")[0] for name in report.initial} == {"decoder"}

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        x = torch.nn.functional.conv2d(x, state[f"{name}.0.weight"])
        statistics = [state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return torch.nn.functional.batch_norm(x, *statistics).relu()

    x = random(2, 320, 3, 4) - 0.6
    pooled = layer(x.mean((2, 3), keepdim=True), "image_pooling").expand(-1, -1, 3, 4)
    expected = layer(torch.cat([pooled, layer(x, "aspp0")], 1), "concat_projection")
    torch.testing.assert_close(network.pyramid(x), expected)


@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        ({"decoder_channels": 16}, {"aspp0", "image_pooling", "concat_projection", "logits"}),
        ({"dilations": (6,), "decoder_channels": 256}, {"concat_projection", "logits"}),
    ],
)
def test_a_layer_that_does_not_fit_is_dropped_whole(settings, lost):
    state = mobilenet_state() | pyramid_layers()
    network = CoarseSegmenter(compact_segmentation(**settings))
    report = import_state_dict(network, state)
    check_complete(report, network, state)
    assert {name.split(".")[0] for name in report.dropped} == lost
    assert network.pyramid.projection[1].num_batches_tracked == 0


@pytest.mark.parametrize("two_dimensional", [False, True])
def test_imagenet_xception(two_dimensional):
    state = xception_state(two_dimensional)
    network = MaskGuidedClassifier(ClassificationNetwork(width=WIDTH, depth=8), 3)
    report = import_state_dict(network, state)
    check_complete(report, network, state)
    assert {name.split(".")[0] for name in report.dropped} == {"block12", "conv3", "bn3", "fc"}
    prefixes = {".".join(name.split(".")[: 3 if "middle" in name else 2]) for name in report.initial}
    missing = {f"encoder.middle.{i}" for i in range(1, 7)}
    assert prefixes == missing | {"encoder.tail", "head.weight", "head.bias"}
    torch.testing.assert_close(network.encoder.stem[0][0].weight[:, 3], state["conv1.weight"].mean(1))
    expected = state["block11.rep.7.pointwise.weight"].flatten(1)
    torch.testing.assert_close(network.encoder.middle[7].convs[2].pointwise.weight.flatten(1), expected)
    torch.testing.assert_close(network.encoder.entry[0].convs[1].norm.weight, state["block1.rep.4.weight"])


def test_voc_head_is_dropped_and_the_rest_used():
    network = CoarseSegmenter(SegmentationNetwork(width=0.05, depth=1, decoder_channels=8))
    state = {"module.backbone.conv1.weight": random(8, 3, 3, 3), "module.cls_conv.weight": random(21, 8, 1, 1)}
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    report = import_state_dict(network, state)
    assert report.source == "DeepLabV3+ Xception-65"
    assert report.used == ("encoder.stem.0.0.weight",)
    assert set(report.dropped) == {"cls_conv.weight"}


@pytest.mark.parametrize("variant", ["paper", "compact", "lite"])
def test_enhanced_starts_from_coarse(tiny, variant):
    coarse, enhanced = tiny("coarse", variant), tiny("enhanced", variant)
    torch.nn.init.normal_(coarse.decoder.head.weight)
    report = import_state_dict(enhanced, coarse.state_dict())
    assert not report.dropped
    assert {name.split(".")[0] for name in report.initial} == {"guidance"}
    for name, tensor in coarse.state_dict().items():
        torch.testing.assert_close(enhanced.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["paper", "compact", "lite"])
@pytest.mark.parametrize("kind", ["coarse", "classifier", "enhanced"])
def test_our_own_weights_are_recognised(tiny, kind, variant):
    network = tiny(kind, variant)
    source = identify(network.state_dict())
    assert (source.network, source.backbones) == (kind, (network.backbone,))


def test_own_weights_of_larger_lites_fit_only_their_like():
    """Lite1 and Lite2 have layers of the same names; their sizes tell the rest."""
    sizes = {"width": 0.5, "depth": 1}
    networks = [
        MaskGuidedClassifier(ClassificationNetwork(backbone=f"efficientnet_lite{lite}", **sizes), 3)
        for lite in range(3)
    ]
    small, middle, large = (network.state_dict() for network in networks)
    message = r"^mbdcnn's classifier \(efficientnet_lite1 or efficientnet_lite2\) weights do not fit"
    with pytest.raises(UserError, match=message):
        import_state_dict(networks[0], large)
    with pytest.raises(UserError, match=r"^mbdcnn's classifier \(efficientnet_lite0\) weights do not fit"):
        import_state_dict(networks[1], small)
    with pytest.raises(UserError, match=r"give the network the checkpoint's width$"):
        import_state_dict(networks[2], middle)
    assert not import_state_dict(networks[1], middle).initial


def lite_state(lite: int) -> dict[str, torch.Tensor]:
    return {name: random(*shape) for name, shape in published_shapes(lite).items()}


def test_an_efficientnet_lite_at_less_depth_says_which_blocks_are_dropped():
    network = MaskGuidedClassifier(ClassificationNetwork(backbone="efficientnet_lite1", depth=3), 3)
    state = lite_state(1)
    report = import_state_dict(network, state)
    check_complete(report, network, state)
    assert {name.rpartition("._")[0].split("._")[0] for name in report.dropped if "_blocks" in name} == {
        f"_blocks.{number}" for number in (10, 14, 18, 19)
    }
    torch.testing.assert_close(network.encoder.stem[0].weight[:, 3], state["_conv_stem.weight"].mean(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.update({"_blocks.0._se_reduce.weight": random(8, 32, 1, 1)}),
            "^weights of an unknown kind",
        ),
        (lambda state: state.update({"_blocks.16._bn2.weight": random(320)}), "^weights of an unknown kind"),
        (lambda state: state.update({"_conv_head.weight": torch.tensor(1.0)}), "^weights of an unknown kind"),
        (lambda state: None, "^EfficientNet-Lite0 weights do not fit a MaskGuidedClassifier with efficientnet_lite2"),
    ],
    ids=["squeeze-excite", "other blocks", "a scalar", "another scale"],
)
def test_other_efficientnets_are_refused(change, message):
    network = MaskGuidedClassifier(ClassificationNetwork(backbone="efficientnet_lite2", depth=1), 3)
    state = lite_state(0)
    change(state)
    with pytest.raises(UserError, match=message):
        import_state_dict(network, state)


def test_another_backbone_is_refused(tiny):
    message = r"^MobileNetV2 weights do not fit a CoarseSegmenter with xception65; give it the backbone mobilenet_v2$"
    with pytest.raises(UserError, match=message):
        import_state_dict(tiny("coarse", "paper"), mobilenet_state())


def test_a_trunk_of_another_width_is_refused_and_nothing_changed(tiny):
    network = tiny("coarse", "compact")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UserError, match=r"^features\.0\.0\.weight is 32x3x3x3, the network's 8x3x3x3; give"):
        import_state_dict(network, mobilenet_state())
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_files(tmp_path, wrapper, prefix):
    state = {f"{prefix}a.weight": random(2, 2), f"{prefix}b": random(3)}
    path = tmp_path / "checkpoint.pth"
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    read = read_state_dict(path)
    assert list(read) == ["a.weight", "b"]
    torch.testing.assert_close(read["a.weight"], random(2, 2))


class Stranger:
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Stranger(), "not a torch file of plain tensors"),
        ({"state_dict": {"a": Stranger()}}, "not a torch file of plain tensors"),
        ({"a": torch.zeros(1), "epoch": 3}, "'epoch' is no plain tensor"),
        ([1, 2], "holds no named tensors"),
        ({}, "holds no named tensors"),
    ],
)
def test_torch_files_of_other_things(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    assert message in one_line(tmp_path / "x.pth", read_state_dict)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x02."])
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "not a" in one_line(tmp_path / name, read_state_dict)


def test_missing_and_unknown_files(tmp_path, tiny):
    network = tiny("coarse", "paper")
    assert "no such weights file" in one_line(tmp_path / "x.pth", read_state_dict)
    assert "no such weights file" in one_line(tmp_path / "x.safetensors", lambda path: load_weights(path, network))
    save_file({"features.conv0.weight": random(2)}, tmp_path / "densenet.safetensors")
    message = one_line(tmp_path / "densenet.safetensors", lambda path: import_weights(path, network))
    assert "unknown kind" in message
    assert "features.conv0.weight" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("decoder.head.bias"), "decoder.head.bias is missing;"),
        (lambda state: state.update(extra=random(1)), "extra is unknown;"),
        (lambda state: state.update({"decoder.head.bias": random(5)}), "decoder.head.bias is 5 instead of 2;"),
        (lambda state: [state.pop(n) for n in list(state)[:3]], "(and 2 more)"),
    ],
)
def test_loading_is_strict(tmp_path, tiny, change, message):
    network = tiny("coarse", "paper")
    save_weights(tmp_path / "w.safetensors", network)
    state = read_state_dict(tmp_path / "w.safetensors")
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    assert message in one_line(tmp_path / "w.safetensors", lambda path: load_weights(path, network))


def one_line(path, read) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_a_bias_that_matters_is_never_taken_for_zero() -> None:
    network = MaskGuidedClassifier(ClassificationNetwork(backbone="mobilenet_v2", width=0.1, depth=1), 3)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(".bias")}
    missing = {name for name in network.state_dict() if name.endswith(".bias")}
    assert set(import_state_dict(network, state).initial) == missing
