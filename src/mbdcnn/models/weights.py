"""Weights on disk: our own files exactly, anybody's as far as they fit.

Nothing is ever unpickled freely: safetensors, or torch files read with `weights_only=True`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mbdcnn.errors import UserError
from mbdcnn.models.checkpoints import ImportReport, Network, import_state_dict, shape_of

WRAPPERS = ("state_dict", "model_state_dict", "model")


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
    for name, tensor in state.items():
        if half and tensor.is_floating_point() and tensor.ndim > 1:
            state[name] = tensor.half()
            if not state[name].isfinite().all():
                raise UserError(f"{source}: {name} does not fit half precision; write full precision")
    target.write_bytes(save(state, metadata=metadata))


def load_weights(path: Path, network: nn.Module) -> dict[str, str]:
    """Fill every tensor of a network from a file that holds exactly those; return the file's metadata.

    Raises:
        UserError: no such file, not safetensors, or tensors missing, left over or of another shape.
    """
    state, metadata = _read_safetensors(Path(path))
    mismatches = _mismatches(network.state_dict(), state)
    if mismatches:
        more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
        raise UserError(
            f"{path}: not the weights of this {type(network).__name__}: {mismatches[0]}{more}; "
            "use the configuration they were trained with"
        )
    network.load_state_dict(state)
    return metadata


def import_weights(path: Path, network: Network) -> ImportReport:
    """Read a checkpoint of any known kind into a network, as far as it fits.

    Raises:
        UserError: the file cannot be read, is of no known kind or does not fit the network.
    """
    state = read_state_dict(path)
    try:
        return import_state_dict(network, state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors or torch file, without the `module.` of data-parallel training.

    Raises:
        UserError: no such file, unreadable, or other things in it than named tensors.
    """
    path = Path(path)
    state = _read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_torch(path)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _mismatches(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    missing = [f"{name} is missing" for name in own if name not in state]
    unknown = [f"{name} is unknown" for name in state if name not in own]
    shapes = [
        f"{name} is {shape_of(state[name])} instead of {shape_of(own[name])}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    return missing + unknown + shapes


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a complete safetensors file ({error}); get it again") from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    _require_file(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged or hostile pickle may raise anything
        raise UserError(
            f"{path}: not a torch file of plain tensors, and others are not opened because they can run code; "
            "save its state dict as safetensors"
        ) from None
    while isinstance(content, dict) and (wrapper := next((key for key in WRAPPERS if key in content), None)):
        content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no named tensors; give a file with a state dict")
    stranger = next((name for name, value in content.items() if not isinstance(value, Tensor)), None)
    if stranger is not None:
        raise UserError(f"{path}: '{stranger}' is no tensor; give a file with a state dict and nothing else")
    return content


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
