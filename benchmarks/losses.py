"""Time of the losses, forward and backward. Baselines: the rank loss as a loop over its pairs, and the Dice loss."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from harness import Row, copy_rate, print_table, side_by_side
from torch import Tensor

from mbdcnn.training.losses import rank_loss, soft_dice_loss

PIXELS, MARGIN = 30, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.manual_seed(0)
    logits = torch.randn(options.batch, 2, options.side, options.side, requires_grad=True)
    truth = (torch.rand(options.batch, 1, options.side, options.side) < 0.3).float()
    torch.testing.assert_close(rank_loss(logits, truth, PIXELS, MARGIN), plain_rank_loss(logits, truth))

    def pass_through(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(logits, truth), logits)

    works = {"rank": rank_loss, "loop": plain_rank_loss, "dice": soft_dice_loss}
    seconds = side_by_side({name: pass_through(loss) for name, loss in works.items()}, options.repeats)
    # Logits and truth are read and a gradient is written.
    floor = (2 * logits.numel() + truth.numel()) * 4 / copy_rate()
    rows = [
        Row(
            f"rank loss, against a loop over {PIXELS}x{PIXELS} pairs", seconds["rank"], seconds["loop"], floor, target=4
        ),
        Row("rank loss, against the Dice loss", seconds["rank"], seconds["dice"], floor, target=0.5),
    ]
    print_table(f"losses, forward and backward, {options.batch} x {options.side} x {options.side}", rows)


def plain_rank_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Sort the errors of each image, then compare the worst pixels pair by pair."""
    lesion = logits.softmax(1)[:, 1:]
    background = (lesion * (1 - truth)).flatten(1).sort(descending=True).values[:, :PIXELS]
    foreground = 1 - ((1 - lesion) * truth).flatten(1).sort(descending=True).values[:, :PIXELS]
    total = torch.zeros(())
    for i in range(PIXELS):
        for j in range(PIXELS):
            total = total + (background[:, i] - foreground[:, j] + MARGIN).clamp(min=0).mean()
    return total / PIXELS**2


if __name__ == "__main__":
    main()
