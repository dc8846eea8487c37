"""Names and shapes of the published EfficientNet-Lite checkpoints, written down independently of our networks."""

from __future__ import annotations

# Expansion, kernel and, of Lite0, Lite1 and Lite2, channels and blocks of each stage.
STAGES = (
    (1, 3, (16, 16, 16), (1, 1, 1)),
    (6, 3, (24, 24, 24), (2, 3, 3)),
    (6, 5, (40, 40, 48), (2, 3, 3)),
    (6, 3, (80, 80, 88), (3, 4, 4)),
    (6, 5, (112, 112, 120), (3, 4, 4)),
    (6, 5, (192, 192, 208), (4, 5, 5)),
    (6, 3, (320, 320, 352), (1, 1, 1)),
)


def published_shapes(lite: int) -> dict[str, tuple[int, ...]]:
    """Return every tensor of EfficientNet-Lite0, 1 or 2 with its shape."""
    shapes = {"_conv_stem.weight": (32, 3, 3, 3), **norm("_bn0", 32)}
    inputs, number = 32, 0
    for expansion, kernel, channels, repeats in STAGES:
        for _ in range(repeats[lite]):
            hidden, block = inputs * expansion, f"_blocks.{number}"
            if expansion > 1:
                shapes |= {f"{block}._expand_conv.weight": (hidden, inputs, 1, 1), **norm(f"{block}._bn0", hidden)}
            shapes |= {f"{block}._depthwise_conv.weight": (hidden, 1, kernel, kernel), **norm(f"{block}._bn1", hidden)}
            inputs, number = channels[lite], number + 1
            shapes |= {f"{block}._project_conv.weight": (inputs, hidden, 1, 1), **norm(f"{block}._bn2", inputs)}
    shapes |= {"_conv_head.weight": (1280, inputs, 1, 1), **norm("_bn1", 1280)}
    return shapes | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}
