"""Keras files of Xception classifiers: read without Keras, their tensors turned into what our layers compute.

A `.keras` file is a zip file with the weights in HDF5. Keras numbers the layers of each class in the order of the
network, so names do not depend on what somebody called them.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from mbdcnn.errors import UserError
from mbdcnn.system.extras import not_installed

WEIGHTS = "model.weights.h5"
TRUNK = "layers.functional.layers."
FIRST_CONV, FIRST_NORM = f"{TRUNK}conv2d.vars.0", f"{TRUNK}batch_normalization.vars.2"
PIXEL_MEAN, PIXEL_VARIANCE = "layers.normalization.vars.0", "layers.normalization.vars.1"
LAST_CONV = f"{TRUNK}separable_conv2d_33.vars.1"
EPSILON_BEYOND_OURS = 1e-3 - 1e-5
ENTRY, MIDDLE = range(3), range(8)

CONVS = ("stem.0.0", "stem.1.0", *(f"entry.{block}.skip.0" for block in ENTRY), "exit.skip.0")
SEPARABLE_CONVS = (
    *(f"entry.{block}.convs.{conv}" for block in ENTRY for conv in range(2)),
    *(f"middle.{block}.convs.{conv}" for block in MIDDLE for conv in range(3)),
    *(f"exit.conv{conv}" for conv in range(1, 5)),
)
NORMS = (
    *("stem.0.1", "stem.1.1"),
    *(f"entry.{block}.{part}" for block in ENTRY for part in ("convs.0.norm", "convs.1.norm", "skip.1")),
    *(f"middle.{block}.convs.{conv}.norm" for block in MIDDLE for conv in range(3)),
    *("exit.conv1.norm", "exit.conv2.norm", "exit.skip.1", "exit.conv3.norm", "exit.conv4.norm"),
)
LAYERS = {
    "conv2d": (CONVS, ("weight",)),
    "separable_conv2d": (SEPARABLE_CONVS, ("depthwise.weight", "pointwise.weight")),
    "batch_normalization": (NORMS, ("weight", "bias", "running_mean", "running_var")),
}


def our_name(match: re.Match[str]) -> str:
    """Name a tensor of the trunk as we do, or leave its name where we have none like it."""
    layers, tensors = LAYERS[match["kind"]]
    layer, tensor = int(match["layer"] or 0), int(match["tensor"])
    if layer >= len(layers) or tensor >= len(tensors):
        return match[0]
    return f"encoder.{layers[layer]}.{tensors[tensor]}"


KERAS_XCEPTION = (
    (rf"^{re.escape(TRUNK)}(?P<kind>{'|'.join(LAYERS)})(?:_(?P<layer>\d{{1,3}}))?\.vars\.(?P<tensor>\d)$", our_name),
)


def read_keras(path: Path) -> dict[str, Tensor]:
    """Read a `.keras` file's tensors under its names, in PyTorch's layout.

    Keras's larger epsilon is added to the variances of the trunk, and what its normalisation does to pixels of 0-255 is
    folded into the first convolution, which pads nothing: it takes pixels in [0, 1], as the paper's networks do.

    Raises:
        UserError: not such a file, or h5py is not installed.
    """
    if find_spec("h5py") is None:
        raise not_installed(f"{path}: reading Keras files", "keras")
    try:
        with ZipFile(path) as archive:
            if archive.getinfo(WEIGHTS).compress_type != ZIP_STORED:
                raise UserError(f"{path}: its weights are compressed, which Keras never writes; get it again")
            content = archive.read(WEIGHTS)
        state = _read_hdf5(content)
    # HDF5's library may raise any of these for what is damaged or hostile.
    except (BadZipFile, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a complete Keras file ({error}); get it again") from None
    try:
        return _for_our_layers(state)
    except (KeyError, RuntimeError, ValueError):
        raise UserError(f"{path}: not the Xception with a normalisation of its pixels that is known of Keras") from None


def _read_hdf5(content: bytes) -> dict[str, Tensor]:
    """Read all arrays of floats that lie in the file as they are.

    What HDF5 also offers, such as compression, arrays in other files, or several in one place, can make any number of
    bytes out of a few, or show what lies elsewhere.
    """
    import h5py

    state: dict[str, Tensor] = {}
    left = len(content)

    def take(name: str, item: Any) -> None:
        nonlocal left
        if not isinstance(item, h5py.Dataset) or item.dtype.kind != "f":
            return
        plain = item.chunks is None and not item.is_virtual and item.external is None
        if not plain or item.nbytes > left or item.id.get_storage_size() != item.nbytes:
            raise ValueError(f"{name} does not lie in it as plain numbers")
        left -= item.nbytes
        state[name.replace("/", ".")] = torch.from_numpy(item[()].astype("float32"))

    with h5py.File(BytesIO(content), "r") as file:
        # Visits nothing that a link to another file leads to.
        file.visititems(take)
    return state


def _for_our_layers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn tensors by Keras's order, epsilon and pixels into those by ours; raise an error if it is another network."""
    state = {name: _torch_layout(name, tensor) for name, tensor in state.items()}
    for name, tensor in state.items():
        if name.startswith(f"{TRUNK}batch_normalization") and name.endswith(".vars.3"):
            state[name] = tensor + EPSILON_BEYOND_OURS
    mean, std = (state.pop(name).reshape(1, 3, 1, 1) for name in (PIXEL_MEAN, PIXEL_VARIANCE))
    scaled = state[FIRST_CONV] / std.sqrt()
    state[FIRST_NORM] = state[FIRST_NORM] + (scaled * mean).sum((1, 2, 3))
    state[FIRST_CONV] = scaled * 255
    return state


def _torch_layout(name: str, tensor: Tensor) -> Tensor:
    """Turn height, width, inputs, outputs into outputs, inputs, height, width; of a depthwise kernel, inputs first."""
    if tensor.ndim == 2:
        return tensor.T
    if tensor.ndim != 4:
        return tensor
    depthwise = ".separable_conv2d" in name and name.endswith(".vars.0")
    return tensor.permute(2, 3, 0, 1) if depthwise else tensor.permute(3, 2, 0, 1)
