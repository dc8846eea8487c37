"""What published checkpoints call their tensors, as rules that turn their names into ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

Rule: TypeAlias = tuple[str, str | Callable[[re.Match[str]], str]]


def _numbered(template: str, shift: int = 0, divide: int = 1) -> Callable[[re.Match[str]], str]:
    """Fill a template with the first matched number, shifted and divided to count as we do."""
    return lambda match: template.format((int(match[1]) - shift) // divide)


AUTHORS_DEEPLAB: tuple[Rule, ...] = (
    (r"^backbone\.conv([12])\.", _numbered("encoder.stem.{}.0.", 1)),
    (r"^backbone\.bn([12])\.", _numbered("encoder.stem.{}.1.", 1)),
    (r"^backbone\.block([1-3])\.", r"encoder.entry\1."),
    (r"^backbone\.block20\.", "encoder.exit."),
    (r"^backbone\.block(\d+)\.", _numbered("encoder.middle.{}.", 4)),
    (r"^backbone\.conv([3-5])\.", _numbered("encoder.final.{}.", 3)),
    (r"\.sepconv(\d)\.", r".conv\1."),
    (r"\.bn1\.", ".depthwise_norm."),
    (r"\.bn2\.", ".norm."),
    (r"\.skip\.", ".skip.0."),
    (r"\.skipbn\.", ".skip.1."),
    (r"^aspp\.branch5_conv\.", "pyramid.pooling.0."),
    (r"^aspp\.branch5_bn\.", "pyramid.pooling.1."),
    (r"^aspp\.branch(\d)\.", _numbered("pyramid.branches.{}.", 1)),
    (r"^aspp\.conv_cat\.", "pyramid.projection."),
    (r"^shortcut_conv\.", "decoder.low_level."),
    (r"^cat_conv\.([01])\.", r"decoder.refine.0.\1."),
    (r"^cat_conv\.([45])\.", _numbered("decoder.refine.2.{}.", 4)),
    (r"^cls_conv\.", "decoder.head."),
    (r"^cam_conv\.", "guidance."),
)
XCEPTION: tuple[Rule, ...] = (
    (r"^conv([12])\.", _numbered("encoder.stem.{}.0.", 1)),
    (r"^bn([12])\.", _numbered("encoder.stem.{}.1.", 1)),
    (r"^block([1-3])\.", _numbered("encoder.entry.{}.", 1)),
    (r"^block([4-9]|1[01])\.", _numbered("encoder.middle.{}.", 4)),
    (r"\.rep\.(\d)\.conv1\.", _numbered(".convs.{}.depthwise.", divide=3)),
    (r"\.rep\.(\d)\.pointwise\.", _numbered(".convs.{}.pointwise.", divide=3)),
    (r"\.rep\.(\d)\.", _numbered(".convs.{}.norm.", divide=3)),
    (r"\.skip\.", ".skip.0."),
    (r"\.skipbn\.", ".skip.1."),
    (r"^residual\.", "encoder.tail.skip."),
    (r"^SepConv(\d)\.\d\.conv1\.", r"encoder.tail.conv\1.depthwise."),
    (r"^SepConv(\d)\.\d\.pointwise\.", r"encoder.tail.conv\1.pointwise."),
    (r"^SepConv(\d)\.\d\.", r"encoder.tail.conv\1.norm."),
    (r"^cls\.", "head."),
)
MOBILENET: tuple[Rule, ...] = (
    (r"^features\.", "encoder.features."),
    (r"^aspp0\.", "pyramid.branches.0."),
    (r"^image_pooling\.", "pyramid.pooling."),
    (r"^concat_projection\.", "pyramid.projection."),
)
EFFICIENTNET_LITE: tuple[Rule, ...] = (
    (r"^_conv_stem\.", "encoder.stem.0."),
    (r"^_bn0\.", "encoder.stem.1."),
    (r"^_conv_head\.", "encoder.last.0."),
    (r"^_bn1\.", "encoder.last.1."),
    (r"^_blocks\.", "encoder.blocks."),
    (r"\._expand_conv\.", ".expand.0."),
    (r"\._bn0\.", ".expand.1."),
    (r"\._depthwise_conv\.", ".depthwise.0."),
    (r"\._bn1\.", ".depthwise.1."),
    (r"\._project_conv\.", ".project.0."),
    (r"\._bn2\.", ".project.1."),
)
ENSEMBLE: tuple[Rule, ...] = ((r"^encoder\.members\.0\.", "encoder."),)
"""Of an ensemble the first member is taken."""


def our_name(name: str, rules: tuple[Rule, ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
