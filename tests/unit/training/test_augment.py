from __future__ import annotations

import colorsys
import math
from itertools import product

import pytest
import torch

from mbdcnn.config import Augmentation
from mbdcnn.training.augment import Augmenter, change_tones, sample

SIDE = 48
STILL = {
    "crop_probability": 0,
    "rotation": 0,
    "translate_x": 0,
    "translate_y": 0,
    "scale": (1, 1),
    "shear": 0,
    "vertical_flip": 0,
    "horizontal_flip": 0,
}
WILD = {
    "rotation": 180,
    "translate_x": 0.3,
    "translate_y": 0.3,
    "scale": (0.6, 1.6),
    "aspect": 1.5,
    "shear": 30,
}


def augmenter(side: int = SIDE, **settings: object) -> Augmenter:
    return Augmenter(Augmentation.model_validate(STILL | settings), side)


def blobs(count: int, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    """Random masks without any symmetry, in small patches."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, side // 4, side // 4, generator=generator) > 0.5
    return coarse.float().repeat_interleave(4, 2).repeat_interleave(4, 3)


def as_images(*masks: torch.Tensor) -> torch.Tensor:
    """Images whose channels are masks."""
    return torch.cat([*masks, *[masks[-1]] * (3 - len(masks))], dim=1)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("settings", [Augmentation(crop_probability=0).model_dump(), STILL | WILD])
def test_image_mask_and_coarse_mask_stay_together_pixel_by_pixel(seed: int, settings: dict) -> None:
    truth, coarse = blobs(6, seed=seed), blobs(6, seed=seed + 1000)
    torch.manual_seed(seed)
    augment = Augmenter(Augmentation.model_validate(settings | {"interpolation": "nearest"}), SIDE)
    images, (moved_truth, moved_coarse) = augment(as_images(truth, coarse), [truth, coarse])
    assert torch.equal(images[:, :1].round(), moved_truth)
    assert torch.equal(images[:, 1:2].round(), moved_coarse)
    assert not torch.equal(moved_truth, truth)
    assert moved_truth.mean() > 0.05


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_autocast_of_the_networks_does_not_coarsen_the_geometry(interpolation: str) -> None:
    truth = blobs(6)
    augment = Augmenter(Augmentation.model_validate(STILL | WILD | {"interpolation": interpolation}), SIDE)
    torch.manual_seed(0)
    images, (moved,) = augment(as_images(truth), [truth])
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        images_again, (moved_again,) = augment(as_images(truth), [truth])
    assert torch.equal(images, images_again)
    assert torch.equal(moved, moved_again)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_with_crops_and_other_sizes_they_stay_together_up_to_the_borders(seed: int, interpolation: str) -> None:
    truth = blobs(8, 16, seed=seed).repeat_interleave(6, 2).repeat_interleave(6, 3)
    coarse = truth[:, :, ::2, ::2]
    torch.manual_seed(seed)
    settings = {"crop_probability": 1, "crop_margin_step": 10, "interpolation": interpolation, **WILD}
    images, (moved, moved_coarse) = augmenter(**settings)(
        as_images(truth), [truth, coarse], torch.tensor([[300.0, 240.0]] * 8)
    )
    seen = (images[:, :1] > 0.5).float()
    for mask in (moved, moved_coarse):
        overlap = (seen * mask).sum() / torch.maximum(seen, mask).sum()
        assert overlap > 0.9
        # A map of the next sample is no longer the same one.
        apart = (seen * mask.roll(1, 0)).sum() / torch.maximum(seen, mask.roll(1, 0)).sum()
        assert apart < 0.6


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_outside_is_black_or_the_image_and_its_mask_mirrored(
    interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn(monkeypatch, 1)
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[:, :, :, : SIDE // 4] = 1
    half = {"translate_x": 0.5, "interpolation": interpolation}
    images, (moved,) = augmenter(**half)(as_images(mask), [mask])
    assert not images[..., : SIDE // 2].any()
    assert not moved[..., : SIDE // 2].any()
    images, (moved,) = augmenter(**half, outside="mirrored")(as_images(mask), [mask])
    right = moved[..., SIDE // 2 :]
    assert torch.equal(right, mask[..., : SIDE // 2])
    assert torch.equal(moved[..., : SIDE // 2], right.flip(3))
    assert torch.allclose(images[:, :1], moved, atol=1e-3)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_no_changes_change_nothing(interpolation: str) -> None:
    images, masks = torch.rand(3, 3, SIDE, SIDE), blobs(3)
    moved, (moved_masks,) = augmenter(interpolation=interpolation)(images, [masks], torch.full((3, 2), 800.0))
    assert torch.allclose(moved, images, atol=1e-4)
    assert torch.equal(moved_masks, masks)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"horizontal_flip": 1}, lambda x: x.flip(3)),
        ({"vertical_flip": 1}, lambda x: x.flip(2)),
        ({"horizontal_flip": 1, "vertical_flip": 1}, lambda x: x.rot90(2, (2, 3))),
    ],
)
def test_flips_turn_the_right_way(settings: dict, expected) -> None:
    mask = blobs(4)
    _, (moved,) = augmenter(**settings)(as_images(mask), [mask])
    assert torch.equal(moved, expected(mask))


def drawn(monkeypatch: pytest.MonkeyPatch, fraction: float) -> None:
    """Let every random number lie at this fraction of its range."""
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda self, low=0.0, high=1.0: self.fill_(low + fraction * (high - low))
    )


@pytest.mark.parametrize(("fraction", "turns"), [(1.0, -1), (0.0, 1)])
def test_a_quarter_turn_is_a_quarter_turn(monkeypatch: pytest.MonkeyPatch, fraction: float, turns: int) -> None:
    drawn(monkeypatch, fraction)
    mask = blobs(2)
    _, (moved,) = augmenter(rotation=90)(as_images(mask), [mask])
    assert torch.equal(moved, mask.rot90(turns, (2, 3)))


def test_shifts_are_whole_pixels_down_and_black_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, 1.0)
    mask = 1 - blobs(2) * 0.5
    _, (moved,) = augmenter(translate_y=0.11)(as_images(mask), [mask])
    pixels = round(0.11 * SIDE)
    assert torch.equal(moved[:, :, pixels:], mask[:, :, :-pixels])
    assert not moved[:, :, :pixels].any()


def test_scale_enlarges_about_the_centre_and_aspect_widens(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, 1.0)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[:, :, 16:32, 16:32] = 1
    _, (larger,) = augmenter(scale=(1, 2))(as_images(mask), [mask])
    assert larger.nonzero()[:, 2:].aminmax(dim=0).min.tolist() == [8, 8]
    assert larger.nonzero()[:, 2:].aminmax(dim=0).max.tolist() == [39, 39]
    _, (wider,) = augmenter(aspect=4)(as_images(mask), [mask])
    assert wider.any(dim=2).sum() == 32
    assert wider.any(dim=3).sum() == 8


def test_shear_moves_rows_sideways_only(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, 1.0)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 22:26] = 1
    _, (moved,) = augmenter(shear=30)(as_images(mask), [mask])
    centres = (moved[0, 0] * torch.arange(SIDE)).sum(1) / moved[0, 0].sum(1)
    slope = (centres[40] - centres[8]) / 32
    assert abs(slope) == pytest.approx(math.tan(math.radians(30)), abs=0.03)


def test_changes_follow_one_another_as_in_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale first, then shear along x, then rotate, then shift; flips last of all."""
    drawn(monkeypatch, 1.0)
    move = augmenter(rotation=20, shear=30, scale=(1, 1.5), translate_y=0.25).draw_moves(1)[0]
    turn, slant = math.radians(20), math.tan(math.radians(30))
    rotate = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    forward = torch.eye(3)
    forward[:2, :2] = rotate @ torch.tensor([[1, -slant], [0, 1]]) * 1.5
    forward[1, 2] = 0.5
    assert torch.allclose(move @ forward, torch.eye(3), atol=1e-5)


def margin_limit(width: float, height: float) -> int:
    """Where the authors' `range(30, limit, 30)` of margins ends."""
    half_sides = [int(width / 2), int(height / 2)]
    return int(sum(half_sides) / len(half_sides) / 2)


def test_there_are_as_many_margins_as_the_authors_have(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of longer strips their margins leave nothing.
    grid = [size for size in product(range(150, 1601, 13), range(150, 1601, 17)) if max(size) < 3 * min(size)]
    sizes = [(962, 722), (1022, 767), (1600, 1200), *grid]
    # The largest margin of all, each time.
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.tensor([1 - 1e-6, 0.0])[:, None].expand(shape))
    frames = torch.tensor(sizes, dtype=torch.float32)
    kept = augmenter(crop_probability=1, crop_margin_step=30).draw_crops(frames)[:, 0, 0]
    found = ((1 - kept) * frames[:, 0] / 60).round().int().tolist()
    theirs = [len(range(30, margin_limit(*size), 30)) for size in sizes]
    assert theirs[0] == 6
    assert found == theirs
    # Below a quarter in fractions of pixels there would be one more for some.
    in_fractions = [math.ceil(sum(size) / 240) - 1 for size in sizes]
    assert in_fractions[0] == 7
    assert 0.01 < sum(n != m for n, m in zip(theirs, in_fractions, strict=True)) / len(sizes) < 0.1


@pytest.mark.parametrize(
    "size", [(962.0, 722.0), (1600.0, 1200.0), (240.0, 240.0), (241.0, 240.0), (1600.0, 200.0), (30.0, 20.0)]
)
def test_margins_are_multiples_below_a_quarter_of_the_mean_side(size: tuple[float, float]) -> None:
    frames = torch.tensor([size] * 2000)
    torch.manual_seed(0)
    kept = augmenter(crop_probability=1, crop_margin_step=30).draw_crops(frames).diagonal(dim1=1, dim2=2)[:, :2]
    margins = ((1 - kept) * frames / 2).round(decimals=2)
    assert torch.equal(margins[:, 0], margins[:, 1])
    limit = min(margin_limit(*size), min(size) / 2)
    possible = [margin for margin in range(30, 1000, 30) if margin < limit]
    assert sorted({float(margin) for margin in margins[:, 0]}) == (possible or [0])
    assert (kept > 0).all()


def test_crops_happen_as_often_as_asked_and_keep_the_middle() -> None:
    torch.manual_seed(0)
    augment = augmenter(crop_probability=0.3, crop_margin_step=30)
    kept = augment.draw_crops(torch.tensor([[1600.0, 1200.0]] * 4000))[:, 0, 0]
    assert (kept < 1).float().mean().item() == pytest.approx(0.3, abs=0.03)
    position = torch.linspace(0, 1, 160).expand(4, 3, 160, 160)
    images, _ = augmenter(crop_probability=1, crop_margin_step=30)(position, [], torch.tensor([[160.0, 160.0]] * 4))
    assert torch.allclose(images[..., 0], torch.tensor(30 / 160), atol=0.01)
    assert torch.allclose(images[..., -1], torch.tensor(130 / 160), atol=0.01)


def test_draws_change_from_step_to_step_and_follow_the_seed() -> None:
    augment = Augmenter(Augmentation(), SIDE)

    def moves(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack([augment.draw_moves(4) for _ in range(2)])

    assert torch.equal(moves(1), moves(1))
    assert not torch.equal(moves(1), moves(2))
    steps = moves(1)
    assert not torch.equal(steps[0], steps[1])
    assert not torch.equal(steps[0, 0], steps[0, 1])


def test_ranges_are_kept_and_reached() -> None:
    settings = Augmentation()
    torch.manual_seed(0)
    moves = torch.linalg.inv(Augmenter(settings, 224).draw_moves(4000))
    areas = torch.linalg.det(moves[:, :2, :2]).abs().sqrt()
    assert 0.9 <= areas.min() < 0.91
    assert 1.09 < areas.max() <= 1.1
    heights = moves[:, 1, 2] * 112
    assert torch.allclose(heights, heights.round(), atol=1e-3)
    assert heights.abs().max().round() == 22
    assert moves[:, 0, 2].abs().max() < 1e-6
    mirrored = torch.linalg.det(moves[:, :2, :2]) < 0
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_change_in_images_only_and_stay_in_range(name: str) -> None:
    images, masks = torch.rand(4, 3, SIDE, SIDE), blobs(4)
    torch.manual_seed(0)
    moved, (moved_masks,) = augmenter(**{name: 0.4})(images, [masks])
    assert (moved - images).abs().amax(dim=(1, 2, 3)).min() > 0.01
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert torch.equal(moved_masks, masks)


def test_tones_change_as_in_hsv() -> None:
    images = torch.rand(3, 3, 8, 8)
    images[0, 1, :4] = images[0, 0, :4]
    images[0, :, 4:6] = 0.5
    images[0, :, 6:] = 0
    saturation, turn = torch.tensor([1.5, 0.0, 0.7]), torch.tensor([0.2, 0.5, -0.4])
    changed = change_tones(images, saturation, turn)
    for image in range(3):
        for row, column in product(range(8), range(8)):
            hue, vividness, value = colorsys.rgb_to_hsv(*images[image, :, row, column].tolist())
            hue, vividness = (hue + float(turn[image])) % 1, min(1.0, vividness * float(saturation[image]))
            wanted = torch.tensor(colorsys.hsv_to_rgb(hue, vividness, value))
            assert torch.allclose(changed[image, :, row, column], wanted, atol=1e-5)


def test_a_finer_source_is_averaged_not_skipped() -> None:
    stripes = (torch.arange(4 * SIDE) % 2).float().expand(1, 3, 4 * SIDE, 4 * SIDE)
    read = sample(stripes, torch.eye(3)[None], SIDE)
    assert torch.allclose(read, torch.tensor(0.5))


def test_squashed_and_square_images_of_one_scene_come_to_look_alike() -> None:
    """A disc in a square frame, and the same disc in a 4:3 frame that was squashed, drawn as from a 6:5 frame."""
    settings = Augmentation(**STILL, interpolation="bilinear", frame=(1.2, 1.2))
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 129)[1:] - 1 / 128] * 2, indexing="ij")
    square, squashed = (torch.hypot(x * aspect**0.5, y / aspect**0.5) < 0.4 for aspect in (1, 4 / 3))
    images = torch.stack([square, squashed]).float()[:, None].expand(2, 3, 128, 128)
    result, _ = Augmenter(settings, 128)(images, [], None, torch.tensor([1.0, 4 / 3]))
    assert (result[0] - result[1]).abs().mean() < 0.005
    height, width = ((result[0, 0] > 0.5).any(axis).sum().item() for axis in (1, 0))
    assert height / width == pytest.approx(1.2, abs=0.05)
