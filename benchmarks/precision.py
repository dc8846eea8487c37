"""Losses of coarse-SN's training in bf16 against fp32, and against fp32 with other randomness: is bf16 within chance?

On prepared images, or on generated ones if none are given. Writes every loss into a table and the curves into a figure.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from training import own_step

from mbdcnn.artifacts import PreparedData
from mbdcnn.config import Config, load_config
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate
from mbdcnn.models import build_coarse
from mbdcnn.system.memory import keep_freed_memory
from mbdcnn.training.augment import Augmenter
from mbdcnn.training.batches import SegmentationTraining, as_images, as_masks
from mbdcnn.training.schedule import segmentation_rows

SMOOTHED = 20
"""Steps that a point of the curves is the mean of."""
RUNS = {"fp32": ("fp32", 0), "bf16": ("bf16", 0), "fp32, other randomness": ("fp32", 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="compact")
    parser.add_argument("--data", type=Path, help="prepared with that configuration")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--side", type=int, help="of the images, in pixels; the configuration's if not given")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as for mbdcnn train")
    parser.add_argument("--out", type=Path, default=Path("precision"), help="without ending")
    options = parser.parse_args()
    keep_freed_memory()
    config = load_config(options.config, options.set)
    with tempfile.TemporaryDirectory() as name:
        data = PreparedData.open(options.data) if options.data else _generated(Path(name), config)
        losses = {
            run: train(
                data,
                load_config(options.config, [*options.set, f"coarse.training.precision={precision}"]),
                options.steps,
                options.side or config.data.image_size,
                seed,
            )
            for run, (precision, seed) in RUNS.items()
        }
    columns = np.stack([*losses.values()], axis=1)
    header = ",".join(f'"{run}"' for run in losses)
    np.savetxt(options.out.with_suffix(".csv"), columns, "%.5f", ",", header=header, comments="")
    curves = {run: np.convolve(each, np.ones(SMOOTHED) / SMOOTHED, "valid") for run, each in losses.items()}
    for run, curve in curves.items():
        plt.plot(np.arange(SMOOTHED, SMOOTHED + len(curve)), curve, label=run)
    plt.xlabel("step")
    plt.ylabel(f"loss, mean of {SMOOTHED} steps")
    plt.legend()
    plt.savefig(options.out.with_suffix(".png"), dpi=120)
    first, *others = curves
    for run in others:
        apart = np.abs(curves[run] - curves[first])
        print(
            f"{run} against {first}: curves apart by {apart.mean():.4f} on average, {apart.max():.4f} at most", end=""
        )
        print(f", {curves[run][-1] - curves[first][-1]:+.4f} at the end")


def _generated(folder: Path, config: Config) -> PreparedData:
    generate(folder / "raw", {"train": 200, "validation": 1}, (640, 480))
    return prepare(folder / "raw", folder / "data", config)


def train(data: PreparedData, config: Config, steps: int, side: int, seed: int) -> list[float]:
    """Give the loss of each step; the network starts the same, the seed draws batches and augmentation."""
    torch.manual_seed(0)
    step = own_step(build_coarse(config).train(), config.coarse)
    samples = SegmentationTraining(data, segmentation_rows(data, "train"))
    augment = Augmenter(config.coarse.augmentation, side)
    order = np.random.default_rng(seed)
    losses = []
    for number in range(steps):
        torch.manual_seed(seed * 1_000_003 + number)
        batch = samples[order.choice(len(samples), config.coarse.training.batch_size, replace=False).tolist()]
        images, (masks,) = augment(as_images(batch["images"]), [as_masks(batch["truth"])], batch["frames"])
        losses.append(step(images, masks))
    return losses


if __name__ == "__main__":
    main()
