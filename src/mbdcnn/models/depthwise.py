"""Convolutions that filter each channel by itself, with gradients that are fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class DepthwiseConv(nn.Conv2d):
    """Filter each channel by itself, keeping the size but for the stride. The kernel's side is odd."""

    def __init__(self, channels: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(channels, channels, kernel, stride, padding, dilation, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        on_cpu = self.training and x.device.type == "cpu"
        if on_cpu and self.dilation == (2, 2) and self.stride == (1, 1):
            return self._by_quarters(x)
        if on_cpu and self.dilation == (1, 1):
            return filter_channels(x, self.weight, self.stride[0], self.kernel_size[0] // 2)
        return super().forward(x)

    def _by_quarters(self, x: Tensor) -> Tensor:
        """Filter the four images of every other row and column without dilation.

        The same sums. oneDNN's gradients take 50 ms by dilation and 10 ms so (960 channels, 16 x 12 x 12 pixels).
        """
        count, channels, height, width = x.shape
        rows, columns = (height + 1) // 2, (width + 1) // 2
        odd = height % 2 or width % 2
        even = (F.pad(x, (0, width % 2, 0, height % 2)) if odd else x).permute(0, 2, 3, 1)
        quarters = even.reshape(count, rows, 2, columns, 2, channels).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        filtered = filter_channels(quarters.permute(0, 3, 1, 2), self.weight, 1, self.kernel_size[0] // 2)
        whole = filtered.permute(0, 2, 3, 1).reshape(count, 2, 2, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
        return whole.reshape(even.shape).permute(0, 3, 1, 2)[..., :height, :width]


def filter_channels(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Filter each channel of a CPU's features, n c h w, by a kernel of its own, c 1 k k; in bf16 with own gradients.

    Two of oneDNN's in bf16 take up to seventy times as long as the convolution itself, those of a stride and those of a
    5x5 kernel's weights.
    """
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    weight = weight.to(x.dtype)
    if x.dtype == torch.bfloat16:
        filtered: Tensor = _FilterChannels.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
        return filtered
    return F.conv2d(x, weight, None, stride, padding, groups=len(weight))


class _FilterChannels(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        context.save_for_backward(x, weight)
        context.stride, context.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = context.saved_tensors
        arguments = (x, weight, slope, context.stride, context.padding)
        return _input_gradient(*arguments), _weight_gradient(*arguments), None, None


def _input_gradient(x: Tensor, weight: Tensor, slope: Tensor, stride: int, padding: int) -> Tensor:
    """Filter by the kernels upside down, those between the strides with slope 0.

    oneDNN takes 54 ms for a stride of 2 where this takes 3 (144 channels, 16 x 48 x 48 pixels, one core of an EPYC).
    """
    kernel = weight.shape[2]
    if stride > 1:
        sides = (side + 2 * padding - kernel + 1 for side in x.shape[2:])
        size = (*slope.shape[:2], *sides)
        spread = torch.empty(size, dtype=slope.dtype, memory_format=torch.channels_last).zero_()
        spread[..., ::stride, ::stride] = slope
        slope = spread
    return F.conv2d(slope, weight.flip(2, 3), padding=kernel - 1 - padding, groups=len(weight))


def _weight_gradient(x: Tensor, weight: Tensor, slope: Tensor, stride: int, padding: int) -> Tensor:
    """Put a 5x5 kernel's gradient together from those of the four 3x3 kernels at its corners.

    oneDNN takes 119 ms for it where this takes 19 (1152 channels, 16 x 12 x 12 pixels, the same machine).
    """
    if weight.shape[2] != 5:
        return _plain_weight_gradient(x, weight, slope, stride, padding)
    padded, gradient = F.pad(x, [padding] * 4), torch.empty_like(weight)
    height, width = padded.shape[2:]
    for top in (0, 2):
        for left in (0, 2):
            seen = padded[..., top : height - 2 + top, left : width - 2 + left]
            seen = seen.contiguous(memory_format=torch.channels_last)
            corner = (..., slice(top, top + 3), slice(left, left + 3))
            gradient[corner] = _plain_weight_gradient(seen, weight[corner], slope, stride, 0)
    return gradient


def _plain_weight_gradient(x: Tensor, weight: Tensor, slope: Tensor, stride: int, padding: int) -> Tensor:
    size, wanted = [[stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight)], [False, True, False]
    gradients = torch.ops.aten.convolution_backward(slope, x, weight, None, *size, wanted)
    gradient: Tensor = gradients[1]
    return gradient
