"""The networks of a bundle traced as ONNX graphs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from mbdcnn.artifacts import Bundle
from mbdcnn.inference.networks import load_model
from mbdcnn.models import MBDCNN
from mbdcnn.models.folding import fold_batch_norm
from mbdcnn.system.extras import not_installed

OPSET = 18
"""The oldest set with all that is needed; every runtime since 2023 reads it."""


def write_graphs(bundle: Bundle, folder: Path) -> None:
    """Write each network as a graph of its own that takes any number of pictures of any size it can look at."""
    model = fold_batch_norm(load_model(bundle))
    # Sides that differ, so that none is taken for the other.
    images, masks, maps = torch.rand(2, 3, 64, 96), torch.zeros(2, 1, 64, 96), torch.rand(2, 1, 4, 6)
    write_onnx(model.coarse, (images,), folder / "coarse.onnx", ["images"], ["logits"])
    write_onnx(
        Guide(model),
        (images, masks),
        folder / "guide.onnx",
        ["images", "masks"],
        ["logits", "activation_maps", "embedding"],
    )
    write_onnx(model.enhanced, (images, maps), folder / "enhanced.onnx", ["images", "activation_maps"], ["logits"])


class Guide(nn.Module):
    """The classifier with its activation map."""

    def __init__(self, model: MBDCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.guide(images, masks))


def write_onnx(
    network: nn.Module,
    examples: tuple[Tensor, ...],
    file: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Sequence[str] = ("batch", "", "height", "width"),
) -> None:
    """Trace a network with the TorchScript exporter.

    The newer one gives the same operators and values but took 20 to 100 s a network where this takes 0.3 s.
    """
    if find_spec("onnx") is None:
        raise not_installed("exporting to ONNX", "export")
    dynamic = {axis: name for axis, name in enumerate(axes) if name}
    with warnings.catch_warnings():
        # That exporter is deprecated.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # The check that sides are multiples of 16 is rightly left out of the graph.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python boolean")
        # Margins of a padding are turned round by a slice, which the runtimes fold instead.
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1 can be constant folded")
        torch.onnx.export(
            network.eval(),
            examples,
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(dynamic) for name in inputs} | {name: {0: "batch"} for name in outputs},
        )
