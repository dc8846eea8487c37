from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mbdcnn.models.layers import AtrousConv


@pytest.mark.parametrize(("sides", "seen"), [((4, 6), 1), ((6, 6), 1), ((7, 4), 9), ((1, 1), 1), ((14, 14), 9)])
def test_a_dilation_beyond_the_sides_leaves_the_centre(sides: tuple[int, int], seen: int, monkeypatch) -> None:
    torch.manual_seed(0)
    conv = AtrousConv(3, 4, 3, 1, 6, 6).double()
    images = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(images, conv.weight, conv.bias, 1, 6, 6)
    sizes: list[int] = []
    original = F.conv2d

    def noted(x: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(weight[0, 0].numel())
        return original(x, weight, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "conv2d", noted)
    own = conv.train()(images)
    assert sizes == [seen]
    torch.testing.assert_close(own, plain)
    slope = torch.randn_like(plain)
    wanted = torch.autograd.grad(plain, (images, conv.weight, conv.bias), slope)
    for ours, expected in zip(torch.autograd.grad(own, (images, conv.weight, conv.bias), slope), wanted, strict=True):
        torch.testing.assert_close(ours, expected)
    conv.eval()(images)
    assert sizes == [seen, 9]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(1, 1, 0, 1), (3, 2, 1, 1), (3, 1, 0, 1)])
def test_other_convolutions_are_as_they_are(kernel: int, stride: int, padding: int, dilation: int) -> None:
    torch.manual_seed(0)
    conv = AtrousConv(3, 4, kernel, stride, padding, dilation).train()
    images = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(conv(images), F.conv2d(images, conv.weight, conv.bias, stride, padding, dilation))
