"""Weights on disk: our own files exactly, anybody's as far as they fit.

Nothing is ever unpickled freely: safetensors, or torch files read with `weights_only=True`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mbdcnn.errors import UserError
from mbdcnn.models.checkpoints import ImportReport, Network, Source, identify, import_state_dict, sides
from mbdcnn.models.head import named_classes
from mbdcnn.models.keras import read_keras

WRAPPERS = ("state_dict", "model_state_dict", "model")
ENCODER = "encoder."
DEEPEST = 3
"""Wrappers round one another; a file may even hold itself."""


def save_weights(path: Path, network: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network's parameters and buffers as safetensors."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # Not `save_file`, whose files only their owner may read.
    path.write_bytes(save(state, metadata=dict(metadata or {})))


def copy_weights(source: Path, target: Path, *, half: bool = False) -> None:
    """Copy a weight file; with `half`, convolutions and matrices in half precision, which `load_weights` undoes.

    Vectors stay as they are: they are small, and batch norm's variances may lie below what half precision can hold.

    Raises:
        UserError: a weight is too large for half precision.
    """
    state, metadata = _read_safetensors(source)
    target.write_bytes(save(_halved(state, source) if half else state, metadata=metadata))


def write_ensemble(sources: Sequence[Path], target: Path, *, half: bool = False) -> None:
    """Write weight files of classifiers of one kind as the one whose logits and activation maps are their mean.

    Raises:
        UserError: a weight is too large for half precision.
    """
    states, described = zip(*(_read_safetensors(source) for source in sources), strict=True)
    joined = {name: tensor for name, tensor in states[0].items() if not name.startswith(ENCODER)}
    for number, (state, source) in enumerate(zip(states, sources, strict=True)):
        member = {name: tensor for name, tensor in state.items() if name.startswith(ENCODER)}
        for name, tensor in (_halved(member, source) if half else member).items():
            joined[f"{ENCODER}members.{number}.{name.removeprefix(ENCODER)}"] = tensor
    # In full precision also with `half`: a few numbers, and the mean of classifiers rounds less so.
    joined["head.weight"] = torch.cat([state["head.weight"] for state in states], dim=1) / len(states)
    joined["head.bias"] = torch.stack([state["head.bias"] for state in states]).mean(0)
    target.write_bytes(save(joined, metadata=described[0]))


def load_weights(path: Path, network: nn.Module) -> dict[str, str]:
    """Fill every tensor of a network from a file that holds exactly those; return the file's metadata.

    The network may have been built on the device `meta`, without memory: what an untrusted configuration asks for is
    so taken only once the file has it.

    Raises:
        UserError: no such file, not safetensors, or tensors missing, left over, of another shape or kind, or holding
            what is no number.
    """
    state, metadata = _read_safetensors(Path(path))
    own = network.state_dict()
    _check_match(path, network, {name: tensor.shape for name, tensor in state.items()})
    for name, tensor in state.items():
        if tensor.is_floating_point() != own[name].is_floating_point() or not tensor.isfinite().all():
            raise UserError(f"{path}: {name} does not hold the numbers of a trained network; get the file again")
    built = not any(tensor.is_meta for tensor in own.values())
    if not built:
        # Copies, because what safetensors gives lies in the file.
        state = {name: tensor.to(own[name].dtype, copy=True) for name, tensor in state.items()}
    network.load_state_dict(state, assign=not built)
    return metadata


def import_weights(path: Path, network: Network, classes: Sequence[str] = ()) -> ImportReport:
    """Read a checkpoint of any known kind into a network, as far as it fits.

    Args:
        path: the file; classes of a classifier are told by it or by the run or bundle it lies in.
        network: what to fill.
        classes: names of the network's classes.

    Raises:
        UserError: the file cannot be read, is of no known kind or does not fit the network.
    """
    state = read_state_dict(path)
    try:
        return import_state_dict(network, state, classes, named_classes(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def identify_file(path: Path) -> Source:
    """Tell what kind of checkpoint a file is.

    Raises:
        UserError: it cannot be read or is of no known kind.
    """
    state = read_state_dict(path)
    try:
        return identify(state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors, torch or Keras file, without the `module.` of data-parallel training.

    Raises:
        UserError: no such file, unreadable, or other things in it than named tensors.
    """
    path = Path(path)
    if path.suffix == ".keras":
        _require_file(path)
        return read_keras(path)
    state = _read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_torch(path)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _halved(state: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    halved = {
        name: tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        for name, tensor in state.items()
    }
    for name, tensor in halved.items():
        if tensor.dtype == torch.half and not tensor.isfinite().all():
            raise UserError(f"{source}: {name} does not fit half precision; write full precision")
    return halved


def _check_match(path: Path, network: nn.Module, shapes: Mapping[str, torch.Size]) -> None:
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    missing = [f"{name} is missing" for name in own if name not in shapes]
    unknown = [f"{name} is unknown" for name in shapes if name not in own]
    differing = [
        f"{name} is {sides(shapes[name])} instead of {sides(own[name])}"
        for name in own
        if name in shapes and shapes[name] != own[name]
    ]
    mismatches = missing + unknown + differing
    if mismatches:
        more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
        raise UserError(
            f"{path}: not the weights of this {type(network).__name__}: {mismatches[0]}{more}; "
            "use the configuration they were trained with"
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    # What it is told to read that this version of torch does not have is a RuntimeError.
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path}: not a complete safetensors file ({error}); get it again") from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    _require_file(path)
    _check_stored(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged or hostile pickle may raise anything
        raise UserError(
            f"{path}: not a torch file of plain tensors, and others are not opened because they can run code; "
            "save its state dict as safetensors"
        ) from None
    for _ in range(DEEPEST):
        wrapper = next((key for key in WRAPPERS if key in content), None) if isinstance(content, dict) else None
        content = content if wrapper is None else content[wrapper]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no named tensors; give a file with a state dict")
    foreign = next((name for name, value in content.items() if not _is_named_tensor(name, value)), None)
    if foreign is not None:
        raise UserError(f"{path}: '{foreign}' is no plain tensor; give a file with a state dict and nothing else")
    return content


def _check_stored(path: Path) -> None:
    """Refuse compressed entries, which torch reads and never writes: a few megabytes can become any number."""
    try:
        with ZipFile(path) as archive:
            compressed = any(entry.compress_type != ZIP_STORED for entry in archive.infolist())
    except Exception:  # older torch files are none, and what is damaged will be told
        return
    if compressed:
        raise UserError(f"{path}: a compressed zip file and no torch file; give a file with a state dict")


def _is_named_tensor(name: object, value: object) -> bool:
    """Tell tensors whose values lie there as numbers from sparse, quantised and empty ones."""
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
