"""What lies over or round a lesion in some images, drawn on a whole batch, on its own device.

Each is drawn on a random part of the batch. Positions are in [-1, 1] from edge to edge.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mbdcnn.types import Images, Masks

HAIRS = 12
"""The most on one image."""
COARSENING = 4
"""Backgrounds are blurred at a quarter of the resolution."""


def blur(images: Images, chance: float) -> Images:
    """Blur by up to two pixels, as by too few pixels or a lens out of focus."""
    chosen = _choose(images, chance)
    soft = images[chosen]
    for _ in range(2):
        soft = _box_blur(soft, 3)
    share = _uniform(len(soft), 0, 1, images)[:, None, None, None]
    return images.index_copy(0, chosen, torch.lerp(images[chosen], soft, share))


def darken_corners(images: Images, chance: float) -> Images:
    """Darken what lies outside a circle, as at the rim of a round lens."""
    chosen = _choose(images, chance)
    x, y = _positions(images)
    count = len(chosen)
    centre_x, centre_y = _uniform(2 * count, -0.15, 0.15, images).view(2, count, 1, 1)
    radius, softness = _uniform(count, 0.8, 1.3, images), _uniform(count, 0.01, 0.15, images)
    darkest = _uniform(count, 0, 0.5, images)[:, None, None]
    distance = torch.hypot(x - centre_x, y - centre_y)
    light = torch.sigmoid((radius[:, None, None] - distance) / softness[:, None, None])
    light = darkest + (1 - darkest) * light
    return images.index_copy(0, chosen, images[chosen] * light[:, None])


def lay_hairs(images: Images, chance: float) -> Images:
    """Draw curved hairs of one colour, some translucent."""
    chosen = _choose(images, chance)
    x, y = _positions(images)
    shape = (len(chosen), HAIRS, 1, 1)

    def draw(low: float, high: float) -> Tensor:
        return _uniform(math.prod(shape), low, high, images).view(shape)

    angle = draw(0, math.pi)
    middle_x, middle_y = draw(-1, 1), draw(-1, 1)
    along = (x - middle_x) * angle.cos() + (y - middle_y) * angle.sin()
    across = (y - middle_y) * angle.cos() - (x - middle_x) * angle.sin()
    off = (across - draw(-0.4, 0.4) * along.square()).abs()
    pixel = 2 / images.shape[-1]
    # One pixel of transition, so that thin hairs are faint rather than broken.
    covered = ((draw(0.3, 1.5) * pixel - off) / pixel + 0.5).clamp(0, 1) * (along.abs() < draw(0.2, 0.9))
    drawn = torch.arange(HAIRS, device=images.device) < _uniform(len(chosen), 1, HAIRS + 1, images)[:, None].floor()
    cover = (covered * drawn[:, :, None, None]).amax(1, keepdim=True) * draw(0.4, 1)[:, :1]
    colour = draw(0, 0.3)[:, :1] * torch.tensor([1.0, 0.75, 0.6]).to(images).view(1, 3, 1, 1)
    return images.index_copy(0, chosen, torch.lerp(images[chosen], colour.expand_as(images[chosen]), cover))


def add_noise(images: Images, chance: float) -> Images:
    """Add pixel noise with a standard deviation of up to a tenth of the range."""
    chosen = _choose(images, chance)
    strength = _uniform(len(chosen), 0, 0.1, images)[:, None, None, None]
    noisy = images[chosen] + strength * torch.randn_like(images[chosen])
    return images.index_copy(0, chosen, noisy.clamp(0, 1))


def paste_stickers(images: Images, chance: float) -> Images:
    """Paste a disc of one strong colour near the edge, as the colour charts that lie beside some lesions."""
    chosen = _choose(images, chance)
    count = len(chosen)
    x, y = _positions(images)
    angle, off = _uniform(count, -math.pi, math.pi, images), _uniform(count, 0.7, 1.05, images)
    radius = _uniform(count, 0.15, 0.5, images)[:, None, None]
    distance = torch.hypot(x - (off * angle.cos())[:, None, None], y - (off * angle.sin())[:, None, None])
    cover = ((radius - distance) * images.shape[-1] / 4).clamp(0, 1)[:, None]
    colour = _uniform(3 * count, 0, 1, images).view(count, 3, 1, 1)
    return images.index_copy(0, chosen, torch.lerp(images[chosen], colour.expand_as(images[chosen]), cover))


def exchange_background(images: Images, lesions: Masks, known: Tensor, chance: float) -> Images:
    """Put lesions on the skin of the next image of the batch, blurred so that no other lesion shows.

    Args:
        images: b 3 h w.
        lesions: their true masks.
        known: which images have a true mask, b.
        chance: share of those that are changed.
    """
    side = images.shape[-1]
    chosen = _choose(images, chance)
    if not len(chosen):
        return images
    donor = (chosen - 1) % len(images)
    skin = 1 - lesions[donor] * known[donor].view(-1, 1, 1, 1)
    # What the donor's lesion covered takes the mean colour of its skin.
    mean = (images[donor] * skin).sum((2, 3), keepdim=True) / skin.sum((2, 3), keepdim=True).clamp(min=1)
    donors = F.avg_pool2d(torch.lerp(mean.expand_as(skin.expand(-1, 3, -1, -1)), images[donor], skin), COARSENING)
    for _ in range(2):
        donors = _box_blur(donors, 2 * (side // (8 * COARSENING)) + 1)
    donors = F.interpolate(donors, images.shape[2:], mode="bilinear")
    border = 2 * (side // 32) + 1
    kept, own = lesions[chosen], images[chosen]
    cover = _box_blur(F.max_pool2d(kept, border, stride=1, padding=border // 2), border)
    changed = known[chosen] & (kept.amax((1, 2, 3)) > 0)
    return images.index_copy(0, chosen, torch.where(changed.view(-1, 1, 1, 1), torch.lerp(donors, own, cover), own))


def _box_blur(images: Tensor, width: int) -> Tensor:
    """Average over squares of an odd width, with the border's values beyond it."""
    around = width // 2
    across = F.avg_pool2d(F.pad(images, (around, around, 0, 0), mode="replicate"), (1, width), stride=1)
    return F.avg_pool2d(F.pad(across, (0, 0, around, around), mode="replicate"), (width, 1), stride=1)


def _choose(images: Images, chance: float) -> Tensor:
    """Draw which images of the batch, by torch's global CPU generator."""
    return (torch.rand(len(images)) < chance).nonzero()[:, 0].to(images.device, non_blocking=True)


def _positions(images: Images) -> tuple[Tensor, Tensor]:
    height, width = images.shape[-2:]
    y = (torch.arange(height).to(images) + 0.5) * 2 / height - 1
    x = (torch.arange(width).to(images) + 0.5) * 2 / width - 1
    return x[None, :], y[:, None]


def _uniform(count: int, low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(count).uniform_(low, high).to(like, non_blocking=True)
