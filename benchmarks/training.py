"""Time of coarse-SN's training steps and their input. Baselines: eager fp32 steps as plain as can be; decoding PNGs.

The two kinds of step run in processes of their own, in turns: how memory is kept is a matter of the whole process.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from harness import Row, best_rate, operations, print_table, side_by_side
from PIL import Image
from torch import Tensor, nn

from mbdcnn.artifacts import PreparedData
from mbdcnn.config import Coarse, Config, load_config
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import draw, generate
from mbdcnn.models import build_coarse, deeplab
from mbdcnn.models.depthwise import DepthwiseConv
from mbdcnn.system.device import choose_precision
from mbdcnn.system.memory import keep_freed_memory
from mbdcnn.training.augment import Augmenter
from mbdcnn.training.batches import SegmentationTraining, as_images, as_masks
from mbdcnn.training.losses import dice_rank_loss
from mbdcnn.training.optim import adam
from mbdcnn.training.schedule import segmentation_rows

Step = Callable[[Tensor, Tensor], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="compact", help="`paper` for the full-size network")
    parser.add_argument("--batch", type=int, help="as in the configuration if not given")
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    config = load_config(options.config)
    batch = options.batch or config.coarse.training.batch_size
    with tempfile.TemporaryDirectory() as name, ExitStack() as held:
        data, png = write_input(Path(name), config, batch)
        read = Input(data, config, batch)
        images, masks = read()
        network = first_network(config)
        steps = {kind: make(copy.deepcopy(network), config.coarse) for kind, make in KINDS.items()}
        apart = largest_difference(*steps.values(), [read() for _ in range(options.steps)])
        works: dict[str, Callable[[], object]] = {
            **{kind: held.enter_context(own_process(kind, config, images, masks)) for kind in KINDS},
            "input": read,
            "reading": read.batch,
            "decoding": lambda: [np.asarray(Image.open(png)) for _ in range(batch)],
        }
        seconds = side_by_side(works, options.steps)
    precision = choose_precision(config.coarse.training.precision, torch.device("cpu"))
    floor = 3 * operations(network.eval(), images) / best_rate(bf16=precision == "bf16")
    rows = [
        Row("eager fp32, Adam", seconds["plain"], seconds["plain"], floor),
        Row(
            f"ours, {precision}, freed memory kept",
            seconds["ours"],
            seconds["plain"],
            floor,
            f"losses within {apart:.0e}",
            1.6,
        ),
        Row("reading and augmenting, against the step", seconds["input"], seconds["ours"], target=10),
        Row("reading, against decoding 1600 x 1200 PNGs", seconds["reading"], seconds["decoding"], target=20),
    ]
    print_table(f"one step of coarse-SN, {options.config}, {batch} x {images.shape[2]} x {images.shape[3]}", rows)


def write_input(folder: Path, config: Config, count: int) -> tuple[PreparedData, Path]:
    """Prepare some images to train on, and write one as the authors' loader would read it."""
    generate(folder / "raw", {"train": count, "validation": 1}, (640, 480))
    draw(np.random.default_rng(0), "nevus", (1600, 1200))[0].save(folder / "image.png")
    return prepare(folder / "raw", folder / "data", config), folder / "image.png"


class Input:
    """Batches as training gets them."""

    def __init__(self, data: PreparedData, config: Config, count: int) -> None:
        self.samples = SegmentationTraining(data, segmentation_rows(data, "train"))
        self.augment = Augmenter(config.coarse.augmentation, config.data.image_size)
        self.positions = list(range(count))

    def batch(self) -> dict[str, Tensor]:
        """Read the arrays."""
        return self.samples[self.positions]

    def __call__(self) -> tuple[Tensor, Tensor]:
        batch = self.batch()
        images, (masks,) = self.augment(as_images(batch["images"]), [as_masks(batch["truth"])], batch["frames"])
        return images, masks


def first_network(config: Config) -> nn.Module:
    """Give coarse-SN, the same each time."""
    torch.manual_seed(0)
    return build_coarse(config).train()


@contextmanager
def own_process(kind: str, config: Config, images: Tensor, masks: Tensor) -> Iterator[Callable[[], float]]:
    """Give a function that has a step taken in a process for this kind alone."""
    arguments = (kind, config, images.numpy(), masks.numpy())
    with ProcessPoolExecutor(1, get_context("spawn"), _begin, arguments) as process:
        yield lambda: process.submit(_take).result()


def _begin(kind: str, config: Config, images: np.ndarray, masks: np.ndarray) -> None:
    if kind == "ours":
        keep_freed_memory()
    step = KINDS[kind](first_network(config), config.coarse)
    batch = torch.from_numpy(images), torch.from_numpy(masks)
    _steps.append(lambda: step(*batch))


def _take() -> float:
    return _steps[0]()


_steps: list[Callable[[], float]] = []


def own_step(network: nn.Module, settings: Coarse) -> Step:
    """Give a step as `train` takes it."""
    network = network.to(memory_format=torch.channels_last)
    optimizer = adam(network, settings.training)
    bf16 = choose_precision(settings.training.precision, torch.device("cpu")) == "bf16"

    def step(images: Tensor, masks: Tensor) -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = dice_rank_loss(network(images), masks, settings.loss).total
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def plain_step(network: nn.Module, settings: Coarse) -> Step:
    """Give a step as one would write it down first."""
    for module in network.modules():
        if isinstance(module, DepthwiseConv):
            module.__class__ = nn.Conv2d
        elif isinstance(module, nn.ReLU6):
            module.inplace = True
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.training.learning_rate)

    def step(images: Tensor, masks: Tensor) -> float:
        optimizer.zero_grad()
        with plain_layers():
            loss = dice_rank_loss(network(images.contiguous()), masks, settings.loss).total
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


KINDS = {"plain": plain_step, "ours": own_step}


@contextmanager
def plain_layers() -> Iterator[None]:
    """Enlarge without a thought for the gradient's place in memory."""

    def enlarge(x: Tensor, factor: int) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)

    with patch.object(deeplab, "enlarge", enlarge):
        yield


def largest_difference(first: Step, second: Step, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Take the same steps both ways and give how far the losses came apart."""
    apart = 0.0
    for number, batch in enumerate(batches):
        losses = []
        for step in (first, second):
            torch.manual_seed(number)  # for dropout
            losses.append(step(*batch))
        apart = max(apart, abs(losses[0] - losses[1]))
    return apart


if __name__ == "__main__":
    main()
