"""Time of class activation maps, given the classifier's features. Baseline: a loop over the feature channels."""

from __future__ import annotations

import argparse

import torch
from harness import Row, copy_rate, print_table, side_by_side
from torch import Tensor

from mbdcnn.config import load_config
from mbdcnn.models import build_classifier
from mbdcnn.models.cam import SMALLEST_PEAK, class_activation_map

SIDE = 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for name in ("compact", "paper"):
        weight = build_classifier(load_config(name)).head.weight.detach()
        torch.manual_seed(0)
        # In memory as the network leaves them.
        features = torch.rand(options.batch, weight.shape[1], SIDE, SIDE).to(memory_format=torch.channels_last)
        classes = torch.randint(len(weight), (options.batch,))
        check(features, weight, classes)
        works = {
            "ours": lambda given=(features, weight, classes): class_activation_map(*given, "reference"),
            "loop": lambda given=(features, weight, classes): plain_maps(*given),
        }
        with torch.inference_mode():
            seconds = side_by_side(works, options.repeats)
        floor = features.numel() * 4 / copy_rate()
        title = f"{name}, {weight.shape[1]} channels"
        rows.append(Row(title, seconds["ours"], seconds["loop"], floor, "no copy to the host", target=25))
    print_table(f"activation maps of {options.batch} images, {SIDE} x {SIDE}", rows)


def check(features: Tensor, weight: Tensor, classes: Tensor) -> None:
    """Raise an error if the maps are others than the loop's, or if a value has to come to the host for them."""
    ours = class_activation_map(features, weight, classes, "reference")
    torch.testing.assert_close(ours, plain_maps(features, weight, classes), rtol=1e-3, atol=1e-4)
    # On this device there are no values, so asking for one fails.
    class_activation_map(features.to("meta"), weight.to("meta"), classes.to("meta"), "reference")


def plain_maps(features: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """Add up the channels one by one, image by image."""
    maps = []
    for image, label in zip(features, classes, strict=True):
        total = torch.zeros(image.shape[1:])
        for channel, plane in enumerate(image):
            total = total + weight[label, channel] * plane
        peak = total.max()
        maps.append(total / peak if peak > SMALLEST_PEAK else total)
    return torch.stack(maps)[:, None]


if __name__ == "__main__":
    main()
