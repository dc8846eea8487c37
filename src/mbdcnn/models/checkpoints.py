"""Published checkpoints: told apart by their tensors, translated into our names, with a report of every tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from mbdcnn.errors import UserError
from mbdcnn.models.classifier import MaskGuidedClassifier
from mbdcnn.models.coarse import CoarseSegmenter
from mbdcnn.models.enhanced import EnhancedSegmenter
from mbdcnn.models.head import LAYER, HeadReport, Named, Placement, by_place, fitting_rows
from mbdcnn.models.keras import KERAS_XCEPTION
from mbdcnn.models.keras import LAST_CONV as KERAS_LAST_CONV
from mbdcnn.models.names import (
    AUTHORS_DEEPLAB,
    EFFICIENTNET_LITE,
    ENSEMBLE,
    MOBILENET,
    XCEPTION,
    Rule,
    our_name,
)

Network: TypeAlias = CoarseSegmenter | MaskGuidedClassifier | EnhancedSegmenter
State: TypeAlias = Mapping[str, Tensor]
LITE_SCALES = {(16, 320): 0, (21, 320): 1, (21, 352): 2}
"""EfficientNet-Lites by the number of their blocks and the channels of the last."""
STEMS = {"encoder.stem.0.0.weight", "encoder.features.0.0.weight", "encoder.stem.0.weight"}
"""First convolutions, which see the image and for the classifier the mask."""
METHOD_CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
"""Classes of the authors' mask-CN, whose files do not name them."""
PUBLIC_CLASSES = (1000, 21)
"""How many ImageNet and VOC have."""


@dataclass(frozen=True)
class Source:
    """A kind of checkpoint.

    Attributes:
        network: what it is, or starts, first of all: `coarse`, `classifier` or `enhanced`.
        rules: regular expressions, applied one after the other, that turn its names into ours.
    """

    name: str
    network: str
    backbones: tuple[str, ...]
    """What it fits; empty for one that was registered, whose tensors tell nothing."""
    rules: tuple[Rule, ...] = ()
    trained_on_lesions: bool = False
    """Perhaps on the very images of an evaluation."""
    classes: tuple[str, ...] | None = None
    """Of the last layer, where all such files have the same."""


@dataclass(frozen=True)
class ImportReport:
    """What became of every tensor of a checkpoint and of the network it went into.

    Attributes:
        used: our names of what was filled from the checkpoint.
        dropped: the checkpoint's names of what was not used, each with the reason.
        initial: our names of what the checkpoint says nothing about.
    """

    source: str
    used: tuple[str, ...]
    dropped: Mapping[str, str]
    initial: tuple[str, ...]
    trained_on_lesions: bool = False
    head: HeadReport | None = None
    """Rows of a classifier's last layer; None where the checkpoint or the network is no classifier."""

    def summary(self) -> str:
        """Say it in one line."""
        head = "" if self.head is None else f"; {self.head.summary()}"
        return (
            f"{self.source}: {len(self.used)} tensors used, {_counted(self.dropped)} dropped, "
            f"{_counted(self.initial)} left at initialisation{head}"
        )


def identify(state: State) -> Source:
    """Tell the kind of a checkpoint by its tensors.

    Raises:
        UserError: none that is known.
    """
    if {"decoder.head.weight", "head.weight"} & state.keys():
        return _own(state)
    if "cam_conv.0.weight" in state:
        return Source("authors' enhanced-SN", "enhanced", ("xception65",), AUTHORS_DEEPLAB, trained_on_lesions=True)
    if "backbone.conv1.weight" in state:
        lesion = "cls_conv.weight" in state and _rows(state, "cls_conv.weight") == 2
        name = "authors' coarse-SN" if lesion else "DeepLabV3+ Xception-65"
        return Source(name, "coarse", ("xception65",), AUTHORS_DEEPLAB, lesion or _retrained(state, "cls_conv.weight"))
    if "block11.rep.1.conv1.weight" in state:
        if "cls.weight" in state:
            classes = METHOD_CLASSES if _rows(state, "cls.weight") == len(METHOD_CLASSES) else None
            return Source("authors' mask-CN", "classifier", ("xception",), XCEPTION, True, classes)
        lesion = _retrained(state, "fc.weight", "last_linear.weight")
        return Source("ImageNet Xception", "classifier", ("xception",), XCEPTION, lesion)
    if "features.1.conv.0.0.weight" in state:
        if "concat_projection.0.weight" in state:
            lesion = _retrained(state, "logits.weight")
            return Source("DeepLabV3 MobileNetV2", "coarse", ("mobilenet_v2",), MOBILENET, lesion)
        lesion = _retrained(state, "classifier.1.weight")
        return Source("MobileNetV2", "classifier", ("mobilenet_v2",), MOBILENET, lesion)
    if KERAS_LAST_CONV in state:
        return Source("Keras Xception", "classifier", ("xception_keras",), KERAS_XCEPTION, trained_on_lesions=True)
    # EfficientNets that are not Lite have squeeze-excite.
    if "_conv_head.weight" in state and "_blocks.0._se_reduce.weight" not in state:
        blocks = {name.split(".")[1] for name in state if name.startswith("_blocks.")}
        scale = LITE_SCALES.get((len(blocks), *state["_conv_head.weight"].shape[1:2]))
        if scale is not None:
            name, fits = f"EfficientNet-Lite{scale}", (f"efficientnet_lite{scale}",)
            return Source(name, "classifier", fits, EFFICIENTNET_LITE, _retrained(state, "_fc.weight"))
    raise UserError(
        f"weights of an unknown kind (first of {len(state)} tensors: {next(iter(state), 'none')}); known are this "
        "package's, the MB-DCNN authors', Xception, DeepLabV3+ Xception-65, MobileNetV2, EfficientNet-Lite0, 1 and 2, "
        "and Keras files of Xception"
    )


def _retrained(state: State, *heads: str) -> bool:
    """Say whether the last layer has other classes than the public weights: trained on, no one knows on what."""
    return any(name in state and _rows(state, name) not in PUBLIC_CLASSES for name in heads)


def _rows(state: State, name: str) -> int:
    return state[name].shape[0] if state[name].ndim else 0


def import_state_dict(
    network: Network, state: State, classes: Sequence[str] = (), named: Named | None = None
) -> ImportReport:
    """Copy all that fits from a checkpoint of any known kind; change nothing where its trunk does not fit.

    A fourth stem channel starts as the mean of the RGB weights, or is left out where the network has none; a bias that
    the checkpoint's convolution lacks starts as 0. Rows of a classifier's last layer go to the classes of their names;
    to those of their places only where nobody names them.

    Args:
        network: what to fill.
        state: the checkpoint's tensors.
        classes: names of the network's classes, where it is a classifier.
        named: names of the checkpoint's classes, if they are known.

    Raises:
        UserError: unknown kind, another backbone, or a trunk of another width.
    """
    source = identify(state)
    if named is None and source.classes is not None:
        named = Named(source.classes, "the order of the MB-DCNN authors' code")
    placement = Placement(tuple(classes), named) if named is not None and classes else None
    if source.backbones and network.backbone not in source.backbones:
        raise UserError(
            f"{source.name} weights do not fit a {type(network).__name__} with {network.backbone}; "
            f"give it the backbone {' or '.join(source.backbones)}"
        )
    own = network.state_dict()
    fitting, dropped = _translate(source, state, own, placement)
    head = _head(source, state, own, classes, placement, "head.weight" in fitting)
    zeros = {name: torch.zeros_like(own[name]) for name in _needless_biases(own, fitting) if name not in fitting}
    used = fitting | zeros
    for name, tensor in used.items():
        own[name].copy_(tensor)
    initial = [name for name in own if name not in used and not name.endswith("num_batches_tracked")]
    if "head.weight" in used and head is not None:
        initial += [f"head.weight of {name}" for name, given in head.rows.items() if given is None]
    return ImportReport(source.name, tuple(used), dropped, tuple(initial), source.trained_on_lesions, head)


def _needless_biases(own: State, fitting: State) -> Iterable[str]:
    """Name the biases of filled convolutions before a batch norm, which takes any bias away again."""
    for name in own:
        convolution, _, kind = name.rpartition(".0.")
        if kind == "bias" and f"{convolution}.0.weight" in fitting and f"{convolution}.1.running_mean" in own:
            yield name


def sides(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _own(state: State) -> Source:
    marks = {
        "encoder.features.0.0.weight": ("mobilenet_v2",),
        "encoder.entry1.conv1.norm.weight": ("xception65",),
        "encoder.tail.conv1.norm.weight": ("xception",),
        "encoder.exit.conv4.norm.weight": ("xception_keras",),
        # Lite1 and Lite2 differ in their channels, which depend on the width as well.
        "encoder.blocks.20.project.0.weight": ("efficientnet_lite1", "efficientnet_lite2"),
        "encoder.blocks.15.project.0.weight": ("efficientnet_lite0",),
    }
    rules = ENSEMBLE if any(name.startswith("encoder.members.0.") for name in state) else ()
    names = {our_name(name, rules) for name in state}
    backbones = next((backbones for name, backbones in marks.items() if name in names), ())
    segmenter = "enhanced" if "guidance.0.weight" in state else "coarse"
    network = "classifier" if "head.weight" in state else segmenter
    name = f"mbdcnn's {network} ({' or '.join(backbones) or 'own backbone'})"
    return Source(name, network, backbones, rules, trained_on_lesions=True)


def _head(
    source: Source, state: State, own: State, classes: Sequence[str], placement: Placement | None, filled: bool
) -> HeadReport | None:
    """Report on the last layer of a classifier that goes into a classifier."""
    if not classes or "head.weight" not in own or not {our_name(name, source.rules) for name in state} & {*LAYER}:
        return None
    return by_place(classes, filled) if placement is None else placement.report(filled)


def _translate(
    source: Source, state: State, own: State, placement: Placement | None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors that fit under our names, and those that do not with the reason."""
    fitting: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    targets = {name: our_name(name, source.rules) for name in state}
    tensors = {name: _adapted(targets[name], tensor, source, own, placement) for name, tensor in state.items()}
    foreign = placement is not None and not any(place is not None for place in placement.places)
    unfit = [name for name in state if targets[name] in own and tensors[name].shape != own[targets[name]].shape]
    _require_trunk(unfit, targets, state, own)
    unfit_layers = {_layer(targets[name]) for name in unfit}
    for name, target in targets.items():
        if target not in own:
            dropped[name] = "no place in this network"
        elif foreign and target in LAYER:
            dropped[name] = "for other classes"
        elif _layer(target) in unfit_layers:
            dropped[name] = f"{sides(state[name].shape)} in a layer of another size"
        else:
            rows = placement.completed(tensors[name], own[target]) if placement and target in LAYER else tensors[name]
            fitting[target] = rows
    return fitting, dropped


def _require_trunk(unfit: Iterable[str], targets: Mapping[str, str], state: State, own: State) -> None:
    for name in unfit:
        if targets[name].startswith("encoder."):
            raise UserError(
                f"{name} is {sides(state[name].shape)}, the network's {sides(own[targets[name]].shape)}; "
                "give the network the checkpoint's width"
            )


def _adapted(target: str, tensor: Tensor, source: Source, own: State, placement: Placement | None) -> Tensor:
    if target.endswith("pointwise.weight") and tensor.ndim == 2:
        return tensor[:, :, None, None]
    stem = target in STEMS
    # Only what then fits: a file of a few bytes may hold a tensor that repeats one number a billion times.
    if stem and target in own and _with_channels(tensor.shape, 3) == _with_channels(own[target].shape, 3):
        given, wanted = tensor.shape[1], own[target].shape[1]
        if (given, wanted) == (3, 4):
            return torch.cat([tensor, tensor.mean(1, keepdim=True)], dim=1)
        if (given, wanted) == (4, 3):
            return tensor[:, :3]
    if target in LAYER and target in own:
        return fitting_rows(tensor, own[target], placement, ensemble=source.rules is ENSEMBLE)
    pooled = source.rules is MOBILENET and target == "pyramid.projection.0.weight"
    if pooled and target in own and tensor.shape == own[target].shape:
        # These files concatenate image pooling first, our pyramid last.
        return tensor.roll(-(tensor.shape[1] // 2), dims=1)
    return tensor


def _with_channels(shape: torch.Size, channels: int) -> tuple[int, ...]:
    return (*shape[:1], channels, *shape[2:])


def _layer(name: str) -> str:
    """Return the name of the convolution and batch norm that only make sense together."""
    return re.sub(r"(\.(\d+|depthwise|depthwise_norm|pointwise|norm))?\.\w+$", "", name)


def _counted(names: Iterable[str]) -> str:
    names = list(names)
    parts = dict.fromkeys(".".join(name.split(".")[: 2 if name.startswith("encoder.") else 1]) for name in names)
    listed = ", ".join(list(parts)[:6]) + (", ..." if len(parts) > 6 else "")
    return f"{len(names)} ({listed})" if names else "none"
