"""What must hold for every network on every backbone."""

from __future__ import annotations

import copy

import pytest
import torch

from mbdcnn.errors import UserError
from mbdcnn.models.folding import fold_batch_norm
from mbdcnn.models.weights import load_weights, save_weights

pytestmark = [
    pytest.mark.parametrize("variant", ["paper", "compact", "lite"]),
    pytest.mark.parametrize("kind", ["coarse", "classifier", "enhanced"]),
]


def outputs(network, inputs):
    result = network(*inputs)
    return result if isinstance(result, tuple) else (result,)


@torch.no_grad()
def test_folded_batch_norm_changes_no_output(tiny, inputs_for, kind, variant):
    network = tiny(kind, variant).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, spread in ((module.running_mean, 0.3), (module.bias, 0.3)):
                values.normal_(0, spread)
            module.running_var.uniform_(0.3, 3)
            module.weight.uniform_(0.5, 1.5)
    inputs = inputs_for(kind, 2)
    expected = outputs(network, inputs)
    folded = fold_batch_norm(copy.deepcopy(network))
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for output, wanted in zip(outputs(folded, inputs), expected, strict=True):
        torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@torch.no_grad()
def test_strangers_keep_their_batch_norm(kind, variant):
    """Whose children may be applied in another order than they stand in."""

    class Stranger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, x):
            return self.second(self.norm(self.first(x)))

    network = torch.nn.Sequential(Stranger(), torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2)).eval()
    network[0].norm.running_mean.fill_(0.7)
    images = torch.rand(2, 3, 4, 4)
    expected = network(images)
    torch.testing.assert_close(fold_batch_norm(network)(images), expected)
    assert isinstance(network[2], torch.nn.Identity)


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (64, 32)])
def test_shapes(tiny, inputs_for, kind, variant, size):
    network = tiny(kind, variant).eval()
    main, *features = outputs(network, inputs_for(kind, 2, *size))
    assert main.shape == ((2, 3) if kind == "classifier" else (2, 2, *size))
    assert [f.shape[2:] for f in features] == [(size[0] // 16, size[1] // 16)] * len(features)


def test_every_parameter_gets_a_gradient(tiny, inputs_for, kind, variant):
    network = tiny(kind, variant, dropout=0.0).eval()
    # Batch statistics would cancel the biases before them, so the running ones are used, set to true spread.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.1)
            torch.nn.init.normal_(module.bias, 0.3, 0.3)
    main = outputs(network, inputs_for(kind, 4))[0]
    (main * torch.randn(main.shape)).sum().backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_trains_without_nan(tiny, inputs_for, kind, variant):
    network = tiny(kind, variant).train()
    outputs(network, inputs_for(kind, 4))[0].square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@torch.no_grad()
def test_evaluation_is_deterministic_and_per_image(tiny, inputs_for, kind, variant):
    network = tiny(kind, variant).eval()
    inputs = inputs_for(kind, 3)
    first = outputs(network, inputs)[0]
    torch.testing.assert_close(outputs(network, inputs)[0], first, rtol=0, atol=0)
    alone = outputs(network, [x[1:2] for x in inputs])[0]
    torch.testing.assert_close(alone, first[1:2], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_every_input_matters(tiny, inputs_for, kind, variant):
    network = tiny(kind, variant).eval()
    inputs = inputs_for(kind)
    before = outputs(network, inputs)[0]
    for i in range(len(inputs)):
        changed = [1 - x if j == i else x for j, x in enumerate(inputs)]
        assert not torch.equal(outputs(network, changed)[0], before)


@torch.no_grad()
def test_weights_round_trip(tiny, inputs_for, kind, variant, tmp_path):
    network = tiny(kind, variant).to(memory_format=torch.channels_last)
    network(*inputs_for(kind))  # moves the batch-norm statistics away from where they start
    save_weights(tmp_path / "w.safetensors", network, {"note": "x"})
    other = tiny(kind, variant)
    torch.nn.init.zeros_(next(other.parameters()))
    assert load_weights(tmp_path / "w.safetensors", other) == {"note": "x"}
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0)


def test_sides_must_be_multiples_of_16(tiny, inputs_for, kind, variant):
    with pytest.raises(UserError, match=r"^images of 48x72 pixels: both sides must be multiples of 16$"):
        tiny(kind, variant)(*inputs_for(kind, 1, 48, 72))


@torch.no_grad()
def test_normalisation_belongs_to_the_network(tiny, inputs_for, kind, variant):
    images, *rest = inputs_for(kind)
    plain = tiny(kind, variant, pixel_mean=0.0, pixel_std=1.0).eval()
    normalising = tiny(kind, variant, pixel_mean=0.4, pixel_std=0.25).eval()
    assert plain.state_dict().keys() == normalising.state_dict().keys()
    expected = outputs(plain, [(images - 0.4) / 0.25, *rest])[0]
    torch.testing.assert_close(outputs(normalising, [images, *rest])[0], expected)


@torch.no_grad()
def test_bfloat16_autocast_and_channels_last(tiny, inputs_for, kind, variant):
    network = tiny(kind, variant).eval()
    inputs = inputs_for(kind)
    expected = outputs(network, inputs)[0]
    network = network.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        actual = outputs(network, [x.to(memory_format=torch.channels_last) for x in inputs])[0].float()
    assert (actual - expected).norm() < 0.05 * expected.norm()
