"""Keras's Xception: its files read without Keras, its function computed at stride 16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mbdcnn.config import ClassificationNetwork
from mbdcnn.errors import UserError
from mbdcnn.models import MaskGuidedClassifier, keras
from mbdcnn.models.checkpoints import identify
from mbdcnn.models.folding import fold_batch_norm
from mbdcnn.models.weights import import_weights, read_state_dict, save_weights

h5py = pytest.importorskip("h5py")

WIDTH = 0.03
C32, C64, C128, C256, C728, C1024, C1536, C2048 = (
    max(8, round(channels * WIDTH)) for channels in (32, 64, 128, 256, 728, 1024, 1536, 2048)
)
TRUNK = "layers/functional/layers"
# What Keras numbers, in its order: kernel, inputs and outputs; inputs and outputs; channels.
CONVS = ((3, 3, C32), (3, C32, C64), (1, C64, C128), (1, C128, C256), (1, C256, C728), (1, C728, C1024))
SEPARABLE_CONVS = (
    *((C64, C128), (C128, C128), (C128, C256), (C256, C256), (C256, C728)),
    *((C728, C728),) * 26,
    *((C728, C1024), (C1024, C1536), (C1536, C2048)),
)
NORMS = (C32, C64, *(C128,) * 3, *(C256,) * 3, *(C728,) * 28, C1024, C1024, C1536, C2048)


def layer(kind: str, number: int) -> str:
    return f"{TRUNK}/{kind}_{number}/vars" if number else f"{TRUNK}/{kind}/vars"


def keras_arrays() -> dict[str, np.ndarray]:
    """Return what a file of such a network holds, with random values."""
    random = np.random.default_rng(0)
    arrays = {}
    for number, (kernel, inputs, outputs) in enumerate(CONVS):
        arrays[f"{layer('conv2d', number)}/0"] = random.normal(0, 1, (kernel, kernel, inputs, outputs)) / inputs
    for number, (inputs, outputs) in enumerate(SEPARABLE_CONVS):
        arrays[f"{layer('separable_conv2d', number)}/0"] = random.normal(0, 0.5, (3, 3, inputs, 1))
        arrays[f"{layer('separable_conv2d', number)}/1"] = random.normal(0, 0.3, (1, 1, inputs, outputs))
    for number, channels in enumerate(NORMS):
        for part, values in enumerate(random.uniform(0.2, 1, (4, channels)) - [[0], [0.6], [0.6], [0]]):
            arrays[f"{layer('batch_normalization', number)}/{part}"] = values
    arrays["layers/normalization/vars/0"] = np.array([190.0, 140.0, 150.0])
    arrays["layers/normalization/vars/1"] = np.array([1300.0, 1500.0, 1900.0])
    arrays |= {"layers/dense/vars/0": random.normal(0, 1, (C2048, 7)), "layers/dense/vars/1": random.normal(0, 1, 7)}
    return {name: values.astype(np.float32) for name, values in arrays.items()}


def write(path: Path, arrays: dict[str, np.ndarray], change: Callable[[Any], object] = lambda file: None) -> Path:
    """Write a `.keras` file; `change` may do more to what is HDF5 in it."""
    inner = path.with_suffix(".h5")
    with h5py.File(inner, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file["layers/normalization/vars/2"] = 0
        change(file)
    with ZipFile(path, "w", ZIP_STORED) as archive:
        archive.writestr("config.json", "{}")
        archive.write(inner, keras.WEIGHTS)
    return path


def classifier(backbone: str = "xception_keras") -> MaskGuidedClassifier:
    torch.manual_seed(0)
    return MaskGuidedClassifier(ClassificationNetwork(backbone=backbone, width=WIDTH), 3).eval()


class Plain:
    """Keras's Xception written down plainly: strides and padding as it has them, up to stride 32."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = {name: torch.from_numpy(values) for name, values in arrays.items()}

    def conv(self, x: Tensor, number: int, stride: int = 1) -> Tensor:
        kernel = self.arrays[f"{layer('conv2d', number)}/0"].permute(3, 2, 0, 1)
        return F.conv2d(x, kernel, stride=stride)

    def separable(self, x: Tensor, number: int, norm: int) -> Tensor:
        depthwise = self.arrays[f"{layer('separable_conv2d', number)}/0"].permute(2, 3, 0, 1)
        pointwise = self.arrays[f"{layer('separable_conv2d', number)}/1"].permute(3, 2, 0, 1)
        return self.norm(F.conv2d(F.conv2d(x, depthwise, padding=1, groups=x.shape[1]), pointwise), norm)

    def norm(self, x: Tensor, number: int) -> Tensor:
        scale, shift, mean, variance = (
            self.arrays[f"{layer('batch_normalization', number)}/{part}"] for part in range(4)
        )
        return F.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    def halve(self, body: Tensor, x: Tensor, conv: int, norm: int) -> Tensor:
        # "SAME" padding: on even sides all of it comes at the end.
        before = body.shape[2] % 2, body.shape[3] % 2
        padded = F.pad(body, (before[1], 1, before[0], 1), value=-torch.inf)
        return F.max_pool2d(padded, 3, 2) + self.norm(self.conv(x, conv, 2), norm)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features at stride 16 and 32 of images in [0, 1]."""
        mean, variance = (self.arrays[f"layers/normalization/vars/{part}"][:, None, None] for part in range(2))
        x = self.norm(self.conv((255 * images - mean) / variance.sqrt(), 0, 2), 0).relu()
        x = self.norm(self.conv(x, 1), 1).relu()
        for block in range(3):
            body = self.separable(x.relu() if block else x, 2 * block, 2 + 3 * block)
            body = self.separable(body.relu(), 2 * block + 1, 3 + 3 * block)
            x = self.halve(body, x, 2 + block, 4 + 3 * block)
        for number in range(6, 30, 3):
            body = x
            for conv in range(number, number + 3):
                body = self.separable(body.relu(), conv, conv + 5)
            x = x + body
        body = self.separable(self.separable(x.relu(), 30, 35).relu(), 31, 36)
        last = self.separable(self.halve(body, x, 5, 37), 32, 38).relu()
        return x, self.separable(last, 33, 39).relu()


@torch.no_grad()
def test_every_other_feature_is_what_keras_computes(tmp_path: Path) -> None:
    arrays = keras_arrays()
    network = classifier()
    report = import_weights(write(tmp_path / "model.keras", arrays), network)
    assert set(report.dropped) == {"layers.dense.vars.0", "layers.dense.vars.1"}
    assert set(report.initial) == {"head.weight", "head.bias"}
    images = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))
    pixels = torch.cat([images, torch.zeros(2, 1, 96, 160)], 1)
    encoder = network.encoder
    middle, last = Plain(arrays)(images)
    assert last.std() > 0.1
    close = {"rtol": 0, "atol": 1e-4 * float(middle.abs().max())}
    torch.testing.assert_close(encoder.middle(encoder.entry(encoder.stem(pixels))), middle, **close)
    features = network(images, torch.zeros(2, 1, 96, 160)).features
    torch.testing.assert_close(features[:, :, ::2, ::2], last, rtol=0, atol=1e-4 * float(last.max()))


def test_the_mask_starts_as_the_mean_of_the_colours(tmp_path: Path) -> None:
    network = classifier()
    import_weights(write(tmp_path / "model.keras", keras_arrays()), network)
    weight = network.encoder.stem[0][0].weight
    torch.testing.assert_close(weight[:, 3], weight[:, :3].mean(1))


def test_the_papers_xception_is_another_function(tmp_path: Path) -> None:
    file = write(tmp_path / "model.keras", keras_arrays())
    with pytest.raises(UserError, match=r"with xception; give it the backbone xception_keras$"):
        import_weights(file, classifier("xception"))
    trained = classifier("xception")
    save_weights(tmp_path / "own.safetensors", trained)
    with pytest.raises(UserError, match=r"^\S+: mbdcnn's classifier \(xception\) weights do not fit"):
        import_weights(tmp_path / "own.safetensors", classifier())
    assert identify(classifier().state_dict()).backbones == ("xception_keras",)


@torch.no_grad()
def test_folded_batch_norm_changes_no_output(tmp_path: Path) -> None:
    network = classifier()
    import_weights(write(tmp_path / "model.keras", keras_arrays()), network)
    images, masks = torch.rand(2, 3, 48, 64), torch.ones(2, 1, 48, 64)
    expected = network(images, masks).logits
    folded = fold_batch_norm(network)
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(folded(images, masks).logits, expected, rtol=1e-4, atol=1e-4)


def test_trains_without_nan(tmp_path: Path) -> None:
    network = classifier().train()
    network(torch.rand(4, 3, 48, 80), torch.ones(4, 1, 48, 80)).logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.head.parameters())


def compressed(file: Any) -> None:
    file.create_dataset("layers/more", data=np.zeros((1000, 1000), np.float32), compression="gzip")


def elsewhere(file: Any) -> None:
    secret = Path(file.filename).with_name("secret.bin")
    secret.write_bytes(bytes(400))
    file.create_dataset("layers/more", (100,), np.float32, external=[(str(secret), 0, 400)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((10**6,), np.float32)
    layout[:7] = h5py.VirtualSource(file["layers/dense/vars/1"])
    file.create_virtual_dataset("layers/more", layout)


def never_written(file: Any) -> None:
    file.create_dataset("layers/more", (10**12,), np.float32)


@pytest.mark.parametrize("change", [compressed, elsewhere, virtual, never_written])
def test_what_does_not_lie_in_the_file_as_it_is_is_not_read(tmp_path: Path, change) -> None:
    file = write(tmp_path / "model.keras", keras_arrays(), change)
    with pytest.raises(UserError, match=r"more does not lie in it as plain numbers\); get it again$"):
        read_state_dict(file)


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones(3, np.float32)

    def link(file: Any) -> None:
        file["layers/more"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")

    state = read_state_dict(write(tmp_path / "model.keras", keras_arrays(), link))
    assert "layers.more" not in state
    assert state.keys() == read_state_dict(write(tmp_path / "model.keras", keras_arrays())).keys()


def damage(path: Path, damaged: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damaged(path.read_bytes()))


def test_other_and_damaged_files_are_said_in_one_line(tmp_path: Path, monkeypatch) -> None:
    def message(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            read_state_dict(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    arrays, file = keras_arrays(), tmp_path / "model.keras"
    assert "no such weights file" in message(file)
    for content in (b"", b"<html>not found</html>", write(file, arrays).read_bytes()[:-1000]):
        file.write_bytes(content)
        assert "not a complete Keras file" in message(file)
    for inner in (b"", b"noise" * 100, tmp_path.joinpath("model.h5").read_bytes()[:20_000]):
        with ZipFile(file, "w") as archive:
            archive.writestr(keras.WEIGHTS, inner)
        assert "not a complete Keras file" in message(file)
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.writestr(keras.WEIGHTS, bytes(10**6))
    assert "its weights are compressed" in message(file)
    for missing in ("layers/normalization/vars/0", f"{TRUNK}/conv2d/vars/0", f"{TRUNK}/batch_normalization/vars/2"):
        write(file, {name: values for name, values in arrays.items() if name != missing})
        assert "not the Xception with a normalisation of its pixels" in message(file)
    write(file, arrays | {"layers/normalization/vars/0": np.zeros(4, np.float32)})
    assert "not the Xception with a normalisation of its pixels" in message(file)
    monkeypatch.setattr(keras, "find_spec", lambda name: None)
    assert "the extra `keras`" in message(file)
