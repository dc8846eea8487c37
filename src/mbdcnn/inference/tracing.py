"""The networks of a bundle traced as ONNX graphs, each run once and held against torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mbdcnn.artifacts import Bundle
from mbdcnn.errors import UserError
from mbdcnn.inference.networks import load_model
from mbdcnn.inference.sessions import onnx_network
from mbdcnn.models import MBDCNN
from mbdcnn.models.folding import fold_batch_norm
from mbdcnn.system.extras import not_installed

OPSET = 18
"""The oldest set with all that is needed; every runtime since 2023 reads it."""


TOLERANCE = 0.01
"""By how much outputs may differ from those of torch, of 1 or of their largest value if that is more."""
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Reference:
    """What a network gives in torch, to hold its graph against."""

    inputs: Inputs
    outputs: list[np.ndarray]

    @classmethod
    @torch.inference_mode()
    def of(cls, network: nn.Module, *inputs: Tensor) -> Reference:
        """Run a network."""
        outputs = network.eval()(*inputs)
        return cls(inputs, [output.numpy() for output in ([outputs] if isinstance(outputs, Tensor) else outputs)])

    def check(self, outputs: Sequence[np.ndarray], file: Path) -> None:
        """Raise a UserError unless a graph gives the same but for rounding."""
        if not agree(self.outputs, outputs):
            raise UserError(
                f"{file.name}: the exported graph does not give what torch gives, and was not kept; predict with "
                "--runtime torch, or export with another version of torch or onnxruntime"
            )


def agree(exact: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    """Tell whether all outputs are the same as those of torch but for rounding."""
    return len(exact) == len(other) and all(map(_alike, exact, other))


def _alike(exact: np.ndarray, other: np.ndarray) -> bool:
    # What is no number is alike to nothing.
    return exact.shape == other.shape and bool(
        np.abs(exact - other).max() <= TOLERANCE * max(1.0, float(np.abs(exact).max()))
    )


def noise(*shape: int) -> Tensor:
    """Give pixels in [0, 1], always the same."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def write_graphs(bundle: Bundle, folder: Path) -> None:
    """Write each network as a graph of its own that takes any number of images of any size it can look at.

    Raises:
        UserError: a graph does not give what torch gives.
    """
    model = load_model(bundle)
    # Sides that differ, so that none is taken for the other.
    images, masks, maps = noise(2, 3, 64, 96), torch.zeros(2, 1, 64, 96), noise(2, 1, 4, 6)
    # Other sides and another number of images than are traced.
    others = noise(3, 3, 96, 48), noise(3, 1, 96, 48).round(), noise(3, 1, 6, 3)
    networks: dict[str, tuple[nn.Module, Inputs, Inputs, Sequence[str], Sequence[str]]] = {
        "coarse": (model.coarse, (images,), others[:1], ["images"], ["logits"]),
        "guide": (
            Guide(model),
            (images, masks),
            others[:2],
            ["images", "masks"],
            ["logits", "activation_maps", "embedding"],
        ),
        "enhanced": (model.enhanced, (images, maps), others[::2], ["images", "activation_maps"], ["logits"]),
    }
    references = {name: Reference.of(network, *given) for name, (network, _, given, _, _) in networks.items()}
    fold_batch_norm(model)
    for name, (network, examples, _, inputs, outputs) in networks.items():
        write_onnx(network, examples, folder / f"{name}.onnx", inputs, outputs, references[name])


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
    reference: Reference,
    axes: Sequence[str] = ("batch", "", "height", "width"),
) -> None:
    """Trace a network with the TorchScript exporter, and see that its graph gives what torch gave.

    The newer one gives the same operators and values but took 20 to 100 s a network where this takes 0.3 s.

    Raises:
        UserError: it does not, or what is needed is not installed.
    """
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
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
    reference.check(onnx_network(file)([tensor.numpy() for tensor in reference.inputs]), file)
