from __future__ import annotations

import pytest
import torch

from mbdcnn.config import Augmentation
from mbdcnn.training.augment import Augmenter
from mbdcnn.training.occlusions import add_noise, blur, darken_corners, exchange_background, lay_hairs, paste_stickers

SIDE = 64
ALL = [add_noise, blur, darken_corners, lay_hairs, paste_stickers]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.4


@pytest.mark.parametrize("change", ALL)
def test_chance_is_the_share_of_images_changed_and_the_rest_stay_bit_for_bit(change, images) -> None:
    torch.manual_seed(0)
    before = images.clone()
    counts = [(change(images, 0.3) != images).flatten(1).any(1).sum().item() for _ in range(20)]
    assert torch.equal(images, before)
    assert 0.24 < sum(counts) / (20 * len(images)) < 0.36
    assert torch.equal(change(images, 0), images)
    assert all((change(images, 1) != images).flatten(1).any(1))


@pytest.mark.parametrize("change", ALL)
def test_values_stay_in_range_and_the_seed_decides(change, images) -> None:
    torch.manual_seed(3)
    first = change(images, 1)
    torch.manual_seed(3)
    assert torch.equal(change(images, 1), first)
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.shape == images.shape


def test_dark_corners_are_darker_than_the_middle_which_hardly_changes() -> None:
    torch.manual_seed(0)
    light = darken_corners(torch.ones(200, 3, SIDE, SIDE), 1)[:, 0]
    assert (light <= 1).all()
    corner = light[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean()
    middle = light[:, SIDE // 2 - 8 : SIDE // 2 + 8, SIDE // 2 - 8 : SIDE // 2 + 8]
    assert corner < 0.5
    assert middle.min() > 0.9


def test_hairs_are_dark_and_thin_whatever_the_size() -> None:
    for side in (48, 224):
        torch.manual_seed(0)
        covered = 1 - lay_hairs(torch.ones(60, 3, side, side), 1)
        assert (covered >= 0).all()
        shares = (covered[:, 2] > 0.2).float().mean((1, 2))
        assert 0.002 < shares.mean() < 0.35
        assert (covered.flatten(1).amax(1) > 0.25).all()


def test_blur_evens_out_and_keeps_an_even_image(images) -> None:
    torch.manual_seed(0)
    assert (blur(images, 1).var((2, 3)) <= images.var((2, 3))).all()
    even = torch.full((4, 3, SIDE, SIDE), 0.3)
    assert torch.allclose(blur(even, 1), even)


@pytest.mark.parametrize("name", ["colour_cast", "blur", "dark_corners", "hairs"])
def test_each_setting_changes_the_image_and_not_the_mask(name: str, images) -> None:
    still = Augmentation(
        crop_probability=0, rotation=0, translate_y=0, scale=(1, 1), shear=0, vertical_flip=0, horizontal_flip=0
    )
    masks = (images[:, :1] > 0.7).float()
    plain, _ = Augmenter(still, SIDE)(images, [masks])
    torch.manual_seed(0)
    changed, (moved,) = Augmenter(still.model_copy(update={name: 1.0}), SIDE)(images, [masks])
    assert torch.equal(moved, masks)
    assert (changed != plain).flatten(1).any(1).all()


def test_a_background_is_exchanged_and_the_lesion_stays() -> None:
    lesions = torch.zeros(3, 1, SIDE, SIDE)
    lesions[:, :, 20:44, 20:44] = 1
    skin = torch.tensor([0.9, 0.6, 0.3]).view(3, 1, 1, 1).expand(3, 3, SIDE, SIDE)
    images = torch.where(lesions > 0, 0.1, skin).contiguous()
    known = torch.tensor([True, True, False])
    changed = exchange_background(images, lesions, known, 1.0)
    assert torch.allclose(changed[:2, :, 24:40, 24:40], images[:2, :, 24:40, 24:40])
    # The skin of the image before it in the batch, without a trace of the lesion there.
    assert torch.allclose(changed[1, :, :8], images[0, :, :8], atol=1e-5)
    assert changed[0, :, :8].max() < 0.4  # the third's, whose lesion is not known, so that it is blurred into the skin
    assert torch.equal(changed[2], images[2])
    assert torch.equal(exchange_background(images, lesions, known, 0.0), images)
    assert torch.equal(exchange_background(images, torch.zeros_like(lesions), known, 1.0), images)
