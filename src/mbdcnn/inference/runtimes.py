"""What runs the networks: PyTorch, ONNX Runtime or OpenVINO. Imports none of them before it is asked for."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mbdcnn.artifacts import Bundle
from mbdcnn.errors import UserError, on_one_line
from mbdcnn.inference.graphs import GRAPHS, cached_graphs
from mbdcnn.inference.names import RuntimeChoice, RuntimeName
from mbdcnn.inference.protocol import BoolMasks, ClassifierOutput, Core, Logits, Pixels
from mbdcnn.inference.sessions import onnx_network
from mbdcnn.system.cache import cache_folder
from mbdcnn.system.device import choose_device
from mbdcnn.system.extras import not_installed
from mbdcnn.system.files import can_be_written
from mbdcnn.system.rates import matrix_rates, remembered_rates

if TYPE_CHECKING:
    import torch

    from mbdcnn.models import MBDCNN

logger = logging.getLogger("mbdcnn")
Network = TypeVar("Network", bound="torch.nn.Module")
PACKAGES: dict[RuntimeName, str] = {
    "torch": "torch",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "openvino-bf16": "openvino",
}
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA's, AMD's and, under Windows' Linux, any GPU."""
LARGEST_BATCH = 64
"""Images in one pass of a network; more are cut up, so that memory stays bounded."""


def load_core(bundle: Bundle, runtime: RuntimeChoice, device: str) -> Core:
    """Get the networks of a bundle ready to run.

    Args:
        bundle: whose networks.
        runtime: `torch`; or on the CPU alone `onnx`, `openvino`, or `openvino-bf16`, which moves probabilities of the
            shipped model by up to 0.01. The others agree up to rounding. `auto` is `torch` unless it is a CPU where the
            extra `export` is installed, then `openvino-bf16` if that is known to multiply matrices much faster in
            bfloat16, and `onnx` otherwise.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: the runtime is not known, not installed or cannot use that device.
    """
    if runtime == "auto":
        return _automatic(bundle, device)
    if runtime not in PACKAGES:
        raise UserError(f"runtime {runtime}: unknown; give {', '.join(PACKAGES)}")
    if runtime == "torch":
        from mbdcnn.inference.networks import load_model

        return TorchCore(load_model(bundle), choose_device(device))
    if find_spec(PACKAGES[runtime]) is None:
        raise not_installed(f"runtime {runtime}", "export")
    if device not in {"auto", "cpu"}:
        raise UserError(f"runtime {runtime}: runs on the CPU, not on {device}; choose the runtime torch")
    folder = cached_graphs(bundle)
    try:
        return OnnxCore(folder) if runtime == "onnx" else OpenVinoCore(folder, bf16=runtime == "openvino-bf16")
    except UserError:
        raise
    # Each runtime has errors of its own for a graph that cannot be read.
    except Exception as error:
        raise UserError(f"{folder}: cannot be loaded ({_first_line(error)}); remove it to have it made again") from None


def _automatic(bundle: Bundle, device: str) -> Core:
    installed = all(find_spec(package) is not None for package in ("onnx", "onnxruntime"))
    choices: list[RuntimeName] = []
    if installed and (device == "cpu" or (device == "auto" and not _has_gpu())):
        choices = ["openvino-bf16", "onnx"] if _has_matrix_units() else ["onnx"]
    for runtime, otherwise in pairwise([*choices, "torch"]):
        try:
            return load_core(bundle, runtime, "cpu")
        # The exporter has errors of its own, for a registered backbone, say, and torch runs the model all the same.
        except Exception as error:
            logger.warning("runtime %s: %s; the runtime is %s", runtime, on_one_line(_first_line(error)), otherwise)
    return load_core(bundle, "torch", device)


def _has_matrix_units() -> bool:
    """Whether bfloat16 is worth a slower start and rougher numbers."""
    if find_spec(PACKAGES["openvino-bf16"]) is None:
        return False
    # Measured by torch, which takes seconds to load: not each time where nothing can be remembered.
    rates = remembered_rates() or (matrix_rates() if can_be_written(cache_folder()) else None)
    return rates is not None and rates.matrix_units


def _has_gpu() -> bool:
    """Ask torch for a GPU, which takes seconds, only where a driver for one is there."""
    driver = any(map(os.path.exists, _DRIVERS)) or which("nvidia-smi") is not None
    return driver and choose_device("auto").type != "cpu"


class ArrayNetwork(ABC):
    """A network that takes and gives arrays, in passes of bounded size."""

    def __call__(self, *arrays: Any) -> list[Logits]:
        """Run on n images; arrays are n c h w of any kind, uint8 standing for [0, 1]."""
        starts = range(0, len(arrays[0]), LARGEST_BATCH)
        parts = [self.run(*(array[start : start + LARGEST_BATCH] for array in arrays)) for start in starts]
        return parts[0] if len(parts) == 1 else [np.concatenate(output) for output in zip(*parts, strict=True)]

    @abstractmethod
    def run(self, *arrays: Any) -> list[Logits]:
        """Run on all images at once."""


class TorchNetwork(ArrayNetwork):
    """A network in PyTorch.

    Args:
        network: gives one tensor or a tuple of them.
        device: where it runs.
    """

    def __init__(self, network: Callable[..., Any], device: torch.device) -> None:
        self.network = network
        self.device = device

    def run(self, *arrays: Any) -> list[Logits]:
        """Run on all images at once."""
        import torch

        with torch.inference_mode():
            outputs = self.network(*map(self._tensor, arrays))
            outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
            return [output.float().cpu().numpy() for output in outputs]

    def _tensor(self, array: Any) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        values = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
        return values.contiguous(memory_format=torch.channels_last)


class GraphNetwork(ArrayNetwork):
    """An exported network.

    Args:
        infer: takes its inputs as float32 and gives its outputs.
    """

    def __init__(self, infer: Callable[[list[Logits]], Sequence[Logits]]) -> None:
        self.infer = infer

    def run(self, *arrays: Any) -> list[Logits]:
        """Run on all images at once."""
        return list(self.infer([_float32(array) for array in arrays]))


class NetworksCore:
    """The three networks, whatever runs them."""

    runtime: str

    def __init__(self, coarse: ArrayNetwork, guide: ArrayNetwork, enhanced: ArrayNetwork) -> None:
        self._coarse, self._guide, self._enhanced = coarse, guide, enhanced

    def coarse(self, pixels: Pixels) -> Logits:
        """Give mask logits, n 2 h w."""
        return self._coarse(channels_first(pixels))[0]

    def classify(self, pixels: Pixels, masks: BoolMasks) -> ClassifierOutput:
        """Give class logits, activation maps and pooled features."""
        return ClassifierOutput(*self._guide(channels_first(pixels), masks[:, None]))

    def enhance(self, pixels: Pixels, activation_maps: Logits) -> Logits:
        """Give mask logits, n 2 h w."""
        return self._enhanced(channels_first(pixels), activation_maps)[0]


class TorchCore(NetworksCore):
    """The three networks in PyTorch.

    Args:
        model: their composition.
        device: where they run.
    """

    runtime = "torch"

    def __init__(self, model: MBDCNN, device: torch.device) -> None:
        model = optimise_for_inference(model, device)
        super().__init__(*(TorchNetwork(network, device) for network in (model.coarse, model.guide, model.enhanced)))


class OnnxCore(NetworksCore):
    """The three networks in ONNX Runtime, on the CPU.

    Args:
        folder: holds their graphs.
    """

    runtime = "onnx"

    def __init__(self, folder: Path) -> None:
        super().__init__(*(GraphNetwork(onnx_network(folder / f"{name}.onnx")) for name in GRAPHS))


class OpenVinoCore(NetworksCore):
    """The three networks in OpenVINO, on the CPU.

    Args:
        folder: holds their graphs; what OpenVINO compiles them to is kept beside them.
        bf16: compute the dense convolutions of mask-CN and enhanced-SN in bfloat16. coarse-SN stays as it is: a few
            pixels of its mask that change move mask-CN's probabilities by percents.

    Raises:
        UserError: this CPU does not compute in bfloat16.
    """

    def __init__(self, folder: Path, *, bf16: bool = False) -> None:
        import openvino

        from mbdcnn.inference.mixed import read_mixed

        core = openvino.Core()
        if bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UserError("runtime openvino-bf16: this CPU does not compute in bfloat16; choose the runtime openvino")
        self.runtime = "openvino-bf16" if bf16 else "openvino"
        networks = []
        for name in GRAPHS:
            graph, mixed = folder / f"{name}.onnx", bf16 and name != "coarse"
            # Said for f32 too: left to itself OpenVINO takes bfloat16 where the CPU has it.
            settings = {"INFERENCE_PRECISION_HINT": "bf16" if mixed else "f32", "PERFORMANCE_HINT": "LATENCY"}
            # One that another user made may be closed to this one.
            if can_be_written(compiled := folder / "openvino"):
                settings["CACHE_DIR"] = str(compiled)
            model = core.compile_model(read_mixed(core, graph) if mixed else graph, "CPU", settings)
            networks.append(GraphNetwork(_openvino_network(model)))
        super().__init__(*networks)


def optimise_for_inference(network: Network, device: torch.device) -> Network:
    """Optimise a network for inference, in place: it cannot be trained afterwards."""
    import torch

    from mbdcnn.models.folding import fold_batch_norm

    # Two calls because the stub of `to` knows only one argument at a time.
    network = fold_batch_norm(network.eval()).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def channels_first(pixels: Pixels) -> Pixels:
    """Turn n h w 3 into n 3 h w without moving a byte."""
    return pixels.transpose(0, 3, 1, 2)


def _openvino_network(model: Any) -> Callable[[list[Logits]], Sequence[Logits]]:
    # A request serves one thread at a time.
    own = threading.local()

    def infer(arrays: list[Logits]) -> Sequence[Logits]:
        if not hasattr(own, "request"):
            own.request = model.create_infer_request()
        return list(own.request.infer(arrays).values())

    return infer


def _float32(array: Any) -> Logits:
    values = np.ascontiguousarray(array, np.float32)
    if array.dtype == np.uint8:
        values /= 255
    return values


def _first_line(error: Exception) -> str:
    # OpenVINO's begin with a place in its source.
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("Exception from")]
    return lines[0] if lines else type(error).__name__
