"""The depthwise convolution that is computed by quarters while training on the CPU: the plain one, but faster."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mbdcnn.models.depthwise import DepthwiseConv, filter_channels
from mbdcnn.models.efficientnet import HalvingConv

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


@pytest.mark.parametrize("sides", [(8, 6), (7, 6), (5, 9), (3, 3), (2, 1), (1, 1)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (5, 4), (3, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_in_bf16_are_those_of_the_same_numbers_in_fp64(stride, kernel, padding, memory, sides) -> None:
    if stride == 2 and sides[1] == 1:
        pytest.skip("oneDNN leaves weights' gradients unset there; no network halves a single column")
    torch.manual_seed(0)
    images = torch.randn(3, 5, *sides).to(torch.bfloat16, memory_format=memory).requires_grad_()
    weight = torch.randn(5, 1, kernel, kernel).bfloat16().requires_grad_()
    own = filter_channels(images, weight, stride, padding)
    assert type(own.grad_fn).__name__ == "_FilterChannelsBackward"
    wide = [each.detach().double().requires_grad_() for each in (images, weight)]
    plain = F.conv2d(*wide, None, stride, padding, groups=5)
    slope = torch.randn(plain.shape).bfloat16()
    ours = torch.autograd.grad(own, (images, weight), slope)
    expected = torch.autograd.grad(plain, wide, slope.double())
    for gradient, wanted in zip((own, *ours), (plain, *expected), strict=True):
        assert gradient.dtype == torch.bfloat16
        torch.testing.assert_close(gradient.double(), wanted, rtol=0.01, atol=0.02)


@pytest.mark.parametrize("conv", [DepthwiseConv(4, 5), DepthwiseConv(4, 3, stride=2), HalvingConv(4, 4, 5, groups=4)])
def test_training_in_bf16_takes_gradients_of_its_own(conv: torch.nn.Conv2d) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        own = conv.train()(images)
    assert own.dtype == torch.bfloat16
    assert "FilterChannels" in type(own.grad_fn).__name__
    own.float().sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype == torch.float32
    assert "FilterChannels" not in type(conv.train()(images).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        assert "FilterChannels" not in type(conv.eval()(images).grad_fn).__name__
