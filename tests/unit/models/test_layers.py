"""The depthwise convolution that is computed by quarters while training on the CPU: the plain one, but faster."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mbdcnn.models.efficientnet import HalvingConv
from mbdcnn.models.layers import DepthwiseConv

SIDES = [(8, 6), (7, 6), (8, 5), (5, 9), (3, 3), (2, 2), (1, 2), (2, 1), (1, 1)]


@pytest.fixture
def quartered(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """What is sent through quarters."""
    sizes: list[torch.Size] = []
    plain = DepthwiseConv._by_quarters

    def noted(self: DepthwiseConv, x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape)
        return plain(self, x)

    monkeypatch.setattr(DepthwiseConv, "_by_quarters", noted)
    return sizes


@pytest.mark.parametrize("sides", SIDES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("dilation", "stride"), [(2, 1), (1, 1), (3, 1), (2, 2), (4, 1)])
def test_outputs_and_gradients_are_the_plain_ones(dilation, stride, kernel, memory, sides, quartered) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv(5, kernel, stride=stride, dilation=dilation).double().train()
    images = torch.randn(3, 5, *sides, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    own = conv(images)
    assert len(quartered) == ((dilation, stride) == (2, 1))
    plain = F.conv2d(images, conv.weight, None, stride, dilation * (kernel // 2), dilation, groups=5)
    assert own.shape == plain.shape
    torch.testing.assert_close(own, plain)
    slope = torch.randn_like(plain)
    gradients = (torch.autograd.grad(y, (images, conv.weight), slope) for y in (own, plain))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected)


@torch.no_grad()
def test_it_is_the_plain_one_but_in_training_on_the_cpu(quartered) -> None:
    torch.manual_seed(0)
    conv, images = DepthwiseConv(4), torch.randn(2, 4, 7, 8)
    torch.testing.assert_close(conv.train()(images), F.conv2d(images, conv.weight, padding=1, groups=4))
    assert not quartered
    conv = DepthwiseConv(4, dilation=2)
    trained = conv.train()(images)
    assert len(quartered) == 1
    torch.testing.assert_close(conv.eval()(images), trained)
    assert conv.to("meta").train()(images.to("meta")).shape == images.shape
    assert len(quartered) == 1


def test_half_precision_stays_half(quartered) -> None:
    torch.manual_seed(0)
    conv, images = DepthwiseConv(4, dilation=2).train(), torch.randn(2, 4, 7, 8)
    with torch.autocast("cpu", torch.bfloat16):
        own = conv(images)
        plain = F.conv2d(images, conv.weight, None, 1, 2, 2, groups=4)
    assert len(quartered) == 1
    assert own.dtype == torch.bfloat16
    torch.testing.assert_close(own, plain, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("conv", [DepthwiseConv(4, 5), DepthwiseConv(4, 5, dilation=2), HalvingConv(4, 4, 5, groups=4)])
def test_training_in_bf16_filters_in_fp32(conv: torch.nn.Conv2d) -> None:
    """oneDNN's bf16 gradients take four times as long: outputs and gradients are those of fp32, rounded."""
    torch.manual_seed(0)
    images = torch.randn(2, 4, 8, 8).bfloat16().requires_grad_()
    slope = torch.randn_like(images if conv.stride == (1, 1) else images[..., ::2, ::2])
    with torch.autocast("cpu", torch.bfloat16):
        own = conv.train()(images)
    assert own.dtype == torch.bfloat16
    plain = conv(images.float())
    torch.testing.assert_close(own, plain.bfloat16(), rtol=0, atol=0)
    ours = torch.autograd.grad(own, (images, conv.weight), slope)
    expected = torch.autograd.grad(plain, (images, conv.weight), slope.float())
    for gradient, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-6)
