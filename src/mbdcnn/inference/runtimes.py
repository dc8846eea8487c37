"""What runs the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mbdcnn.inference.protocol import BoolMasks, Guidance, Logits, Pixels

if TYPE_CHECKING:
    import torch

    from mbdcnn.models import MBDCNN

Network = TypeVar("Network", bound="torch.nn.Module")
LARGEST_BATCH = 64
"""Pictures in one pass of a network; more are cut up, so that memory stays bounded."""


class TorchNetwork:
    """A network in PyTorch, arrays in and arrays out.

    Args:
        network: gives one tensor or a tuple of them.
        device: where it runs.
    """

    def __init__(self, network: Callable[..., Any], device: torch.device) -> None:
        self.network = network
        self.device = device

    def __call__(self, *arrays: Any) -> list[Logits]:
        """Run on n pictures; arrays are n h w 3 uint8 or n c h w of any kind."""
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, len(arrays[0]), LARGEST_BATCH):
                outputs = self.network(*(self._tensor(array[start : start + LARGEST_BATCH]) for array in arrays))
                outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
                parts.append([output.float().cpu().numpy() for output in outputs])
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _tensor(self, array: Any) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        values = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
        return values.contiguous(memory_format=torch.channels_last)


class TorchCore:
    """The three networks in PyTorch.

    Args:
        model: their composition.
        device: where they run.
    """

    def __init__(self, model: MBDCNN, device: torch.device) -> None:
        model = ready(model, device)
        self._coarse = TorchNetwork(model.coarse, device)
        self._guide = TorchNetwork(model.guide, device)
        self._enhanced = TorchNetwork(model.enhanced, device)

    def coarse(self, pixels: Pixels) -> Logits:
        """Give mask logits, n 2 h w."""
        return self._coarse(channels_first(pixels))[0]

    def classify(self, pixels: Pixels, masks: BoolMasks) -> Guidance:
        """Give class logits, activation maps and pooled features."""
        return Guidance(*self._guide(channels_first(pixels), masks[:, None]))

    def enhance(self, pixels: Pixels, activation_maps: Logits) -> Logits:
        """Give mask logits, n 2 h w."""
        return self._enhanced(channels_first(pixels), activation_maps)[0]


def ready(network: Network, device: torch.device) -> Network:
    """Change a network into its fastest form at test time, in place: it cannot be trained afterwards."""
    import torch

    from mbdcnn.models.folding import fold_batch_norm

    # Two calls because the stub of `to` knows only one argument at a time.
    network = fold_batch_norm(network.eval()).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def channels_first(pixels: Pixels) -> Pixels:
    """Turn n h w 3 into n 3 h w without moving a byte."""
    return pixels.transpose(0, 3, 1, 2)
