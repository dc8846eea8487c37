"""DenseNet-169 as mask-CN's encoder, too large to ship but a teacher for those that are (docs/experiments.md).

python experiments/densenet.py weights densenet169.safetensors densenet.safetensors
python experiments/densenet.py train classifier --config experiments/teacher_densenet.yaml --fold 0/3 ...

The first command turns ImageNet weights (torchvision's names) into a file for `classifier.initial_weights`; any other
is a command of `mbdcnn` with this backbone known. Features are at stride 32; `width` and `depth` do not count.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from mbdcnn.cli import main
from mbdcnn.config import ClassificationNetwork, load_config
from mbdcnn.errors import UserError
from mbdcnn.models import MaskGuidedClassifier, register_backbone
from mbdcnn.models.head import class_metadata
from mbdcnn.models.weights import save_weights

NAME = "densenet169"
LAYERS, GROWTH, BOTTLENECK, STEM = (6, 12, 32, 32), 32, 128, 64
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPSILON = 1.001e-5  # Keras's; torchvision's is 1e-5
STEM_WEIGHT = "features.conv0.weight"


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm as in the public weights."""
    return nn.BatchNorm2d(channels, EPSILON)


class Layer(nn.Module):
    """Adds `GROWTH` channels to those it is given: 1x1, then 3x3, each after norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, BOTTLENECK, 1, bias=False)
        self.norm2, self.conv2 = norm(BOTTLENECK), nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return torch.cat([x, new], 1)


class Transition(nn.Module):
    """Half the channels at half the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.conv = norm(channels), nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """Image and mask, b 4 h w, to 1664 features at stride 32 (Huang et al., CVPR 2017)."""

    def __init__(self, width: float, depth: int) -> None:
        super().__init__()
        channels = STEM
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv0"] = nn.Conv2d(4, channels, 7, stride=2, padding=3, bias=False)
        parts |= {"norm0": norm(channels), "relu0": nn.ReLU(), "pool0": nn.MaxPool2d(3, 2, 1)}
        for number, count in enumerate(LAYERS, 1):
            layers = [(f"denselayer{i + 1}", Layer(channels + i * GROWTH)) for i in range(count)]
            channels += count * GROWTH
            parts[f"denseblock{number}"] = nn.Sequential(OrderedDict(layers))
            if number < len(LAYERS):
                parts[f"transition{number}"] = Transition(channels)
                channels //= 2
        parts["norm5"] = norm(channels)
        self.features = nn.Sequential(parts)
        self.channels = channels
        for name, values in (("mean", MEAN), ("spread", SPREAD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x[:, :3] - self.mean) / self.spread
        return F.relu(self.features(torch.cat([scaled, x[:, 3:]], 1)))


def convert(source: Path, target: Path) -> None:
    """Write starting weights for mask-CN: the mask's channel is the mean of the image's, the last layer random.

    Raises:
        UserError: tensors are missing or left over.
    """
    classes = load_config().classes
    torch.manual_seed(0)
    network = MaskGuidedClassifier(ClassificationNetwork(backbone=NAME), len(classes))
    given = {name: tensor.float() for name, tensor in load_file(source).items() if name.startswith("features.")}
    if (stem := given.get(STEM_WEIGHT)) is not None:
        given[STEM_WEIGHT] = torch.cat([stem, stem.mean(1, keepdim=True)], 1)
    try:
        network.encoder.load_state_dict(given)
    except RuntimeError as error:
        raise UserError(f"{source}: no DenseNet-169 with torchvision's names: {error}") from None
    save_weights(target, network, class_metadata("classifier", classes))


register_backbone(NAME, classification=DenseNet)

if __name__ == "__main__":
    if sys.argv[1:2] == ["weights"]:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
