"""Random geometry and colour on a whole batch, on its own device.

Geometry is drawn once a sample, as maps from output to input positions, and every image and mask of the sample
is read through those same maps: they cannot come apart.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mbdcnn.config import Augmentation
from mbdcnn.training.occlusions import add_noise, blur, darken_corners, lay_hairs, paste_stickers
from mbdcnn.types import Images

Maps = Float[Tensor, "b 3 3"]
"""Homogeneous maps from output to input positions, both in [-1, 1] from edge to edge."""
AnyImages = Float[Tensor, "b 3 _ _"]
AnyMasks = Float[Tensor, "b 1 _ _"]
"""As `Images` and `Masks`, of a size of their own."""


class Augmenter:
    """Draws and applies the random changes of one training set.

    Args:
        settings: ranges and chances.
        side: side of the result in pixels.
    """

    def __init__(self, settings: Augmentation, side: int) -> None:
        self.settings = settings
        self.side = side

    def __call__(
        self,
        images: AnyImages,
        masks: list[AnyMasks],
        frames: Float[Tensor, "b 2"] | None = None,
        aspects: Float[Tensor, " b"] | None = None,
    ) -> tuple[AnyImages, list[AnyMasks]]:
        """Change a batch. Draws from torch's global CPU generator.

        Args:
            images: images squashed to a square of any side.
            masks: masks of the same images, each squashed to a square of any side.
            frames: width and height in pixels that crop margins are measured in; None for no crops.
            aspects: width over height of what each image shows, for the setting `frame`.

        Returns:
            Images and masks at `side` x `side`.
        """
        # bfloat16 has 8 bits: positions would be half a pixel off, and differently for image and mask.
        with torch.autocast(images.device.type, enabled=False):
            return self._change(images, masks, frames, aspects)

    def _change(
        self,
        images: AnyImages,
        masks: list[AnyMasks],
        frames: Float[Tensor, "b 2"] | None,
        aspects: Float[Tensor, " b"] | None,
    ) -> tuple[AnyImages, list[AnyMasks]]:
        moves = self.draw_moves(len(images)).to(images.device, non_blocking=True)
        if self.settings.frame is not None and aspects is not None:
            # From the output's frame to the scene, where the image turns, and on to the frame of the input.
            moves = _unsquash(1 / aspects) @ moves @ _unsquash(self._draw_frames(len(aspects)).to(moves))
        crops = torch.eye(3).to(moves).expand_as(moves) if frames is None else self.draw_crops(frames)
        outside = self.settings.outside
        if self.settings.interpolation == "nearest":
            # As the authors do: what was cropped off does not come back from outside.
            images = sample(sample(images, crops, self.side), moves, self.side, "nearest", outside)
            cropped = [sample(mask, crops, self.side, "nearest") for mask in masks]
            masks = [sample(mask, moves, self.side, "nearest", outside) for mask in cropped]
        else:
            images = sample(images, crops @ moves, self.side, "bilinear", outside)
            masks = [sample(mask, crops @ moves, self.side, "nearest", outside) for mask in masks]
        images = self.recolour(self.cover(images))
        return images.contiguous(memory_format=torch.channels_last), masks

    def draw_crops(self, frames: Float[Tensor, "b 2"]) -> Maps:
        """Draw an equal margin in pixels for all four sides; none where a frame is too small for one."""
        step = self.settings.crop_margin_step
        size, chance = torch.rand(2, len(frames)).to(frames.device, non_blocking=True)
        # In whole pixels, as the authors: half of the mean of the two half sides.
        quarter = ((frames // 2).sum(dim=1) / 4).floor()
        # A strip three times as long as it is high would have nothing left between its margins.
        limit = torch.minimum(quarter, frames.amin(dim=1) / 2)
        largest = (limit / step).ceil().sub(1).clamp(min=0)
        margins = step * (1 + (size * largest).floor())
        cropped = (chance < self.settings.crop_probability) & (largest > 0)
        kept = 1 - 2 * (margins * cropped)[:, None] / frames
        return torch.diag_embed(F.pad(kept, (0, 1), value=1.0))

    def draw_moves(self, count: int) -> Maps:
        """Draw rotation, shift, scale, stretch, shear and flips, as the map from output to input."""
        settings = self.settings
        angle = torch.deg2rad(_uniform(count, settings.rotation))
        shear = torch.deg2rad(_uniform(count, settings.shear)).tan()
        scale = torch.empty(count).uniform_(*settings.scale)
        stretch = (_uniform(count, 1.0) * math.log(settings.aspect) / 2).exp()
        shift_x, shift_y = self._shift(count, settings.translate_x), self._shift(count, settings.translate_y)
        zero, one = torch.zeros(count), torch.ones(count)
        flip_x = 1 - 2 * (torch.rand(count) < settings.horizontal_flip).float()
        flip_y = 1 - 2 * (torch.rand(count) < settings.vertical_flip).float()
        shifted = _matrix([one, zero, shift_x], [zero, one, shift_y])
        rotated = _matrix([angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero])
        sheared = _matrix([one, -shear, zero], [zero, one, zero])
        scaled = _matrix([scale * stretch, zero, zero], [zero, scale / stretch, zero])
        flipped = _matrix([flip_x, zero, zero], [zero, flip_y, zero])
        moves: Tensor = torch.linalg.inv(shifted @ rotated @ sheared @ scaled) @ flipped
        return moves

    def _draw_frames(self, count: int) -> Float[Tensor, " b"]:
        """Draw the width over height of the frames that images are to look as if squashed from."""
        assert self.settings.frame is not None
        low, high = (math.log(limit) for limit in self.settings.frame)
        return torch.empty(count).uniform_(low, high).exp()

    def _shift(self, count: int, fraction: float) -> Float[Tensor, " b"]:
        shift: Tensor = (_uniform(count, fraction) * self.side).round() * 2 / self.side
        return shift

    def cover(self, images: Images) -> Images:
        """Draw stickers, hairs and dark corners, blur and add noise, each on some images."""
        for change, chance in (
            (paste_stickers, self.settings.stickers),
            (lay_hairs, self.settings.hairs),
            (blur, self.settings.blur),
            (darken_corners, self.settings.dark_corners),
            (add_noise, self.settings.noise),
        ):
            if chance:
                images = change(images, chance)
        return images

    def recolour(self, images: Images) -> Images:
        """Change colour cast, brightness, contrast, saturation and hue by random amounts."""
        settings, count = self.settings, len(images)

        def around(centre: float, spread: float, number: int = count) -> Tensor:
            return (centre + _uniform(number, spread)).to(images.device, non_blocking=True)

        if settings.colour_cast:
            images = images * around(1.0, settings.colour_cast, 3 * count).view(count, 3, 1, 1)
        if settings.brightness:
            images = images * around(1.0, settings.brightness)[:, None, None, None]
        if settings.contrast:
            mean = images.mean(dim=(1, 2, 3), keepdim=True)
            images = mean + (images - mean) * around(1.0, settings.contrast)[:, None, None, None]
        images = images.clamp(0, 1)
        if settings.saturation or settings.hue:
            images = change_tones(images, around(1.0, settings.saturation), around(0.0, settings.hue))
        return images


def sample(
    images: Float[Tensor, "b c h w"], maps: Maps, side: int, mode: str = "bilinear", outside: str = "black"
) -> Float[Tensor, "b c s s"]:
    """Read images at the positions that `maps` gives for each output pixel; outside they are black or mirrored.

    Where the source is at least twice as fine as the output, bilinear reading averages so many positions a pixel.
    """
    finer = max(1, images.shape[-1] // side) if mode == "bilinear" else 1
    shape = [len(images), 1, side * finer, side * finer]
    grid = F.affine_grid(maps[:, :2].to(images), shape, align_corners=False)
    padding = "reflection" if outside == "mirrored" else "zeros"
    read = F.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)
    return F.avg_pool2d(read, finer) if finer > 1 else read


def _unsquash(aspects: Float[Tensor, " b"]) -> Maps:
    """Map a square to a frame of the same area and of a width over height as given."""
    zero = torch.zeros_like(aspects)
    return _matrix([aspects.sqrt(), zero, zero], [zero, aspects.rsqrt(), zero])


def change_tones(images: Images, saturation: Float[Tensor, " b"], turn: Float[Tensor, " b"]) -> Images:
    """Multiply each image's saturation and turn its hue by a fraction of the circle, both as in HSV."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    range_ = value - images.amin(1)
    divisor = range_.clamp(min=1e-8)
    # In sixths of the circle, from red.
    green_or_blue = torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4)
    hue = torch.where(value == red, (green - blue) / divisor, green_or_blue)
    vivid = torch.minimum(range_ * saturation[:, None, None], value)
    centres = torch.tensor([0.0, 2.0, 4.0]).to(images).view(1, 3, 1, 1)
    # 3 at a channel's own hue, 0 opposite: largest from 2 on, smallest up to 1.
    near = (hue[:, None] + 6 * turn[:, None, None, None] - centres).remainder(6).sub_(3).abs_()
    return value[:, None] - vivid[:, None] * (2 - near).clamp_(0, 1)


def _uniform(count: int, spread: float) -> Float[Tensor, " b"]:
    return torch.empty(count).uniform_(-spread, spread) if spread else torch.zeros(count)


def _matrix(*rows: list[Tensor]) -> Maps:
    zero = torch.zeros_like(rows[0][0])
    return torch.stack([torch.stack(row, -1) for row in (*rows, [zero, zero, zero + 1])], -2)
