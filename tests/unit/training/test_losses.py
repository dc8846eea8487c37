from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbdcnn.config import SegmentationLoss
from mbdcnn.training.losses import dice_rank_loss, evidence_outside, rank_loss, soft_dice_loss


def batch(seed: int = 0, images: int = 3, side: int = 16, lesion: float = 0.3):
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(images, 1, side, side, generator=generator) < lesion).float()
    return 3 * torch.randn(images, 2, side, side, generator=generator), truth


def dice_by_loop(logits, truth):
    total = 0.0
    for image, mask in zip(logits.softmax(1), truth, strict=True):
        for p, g in ((image[1], mask[0]), (image[0], 1 - mask[0])):
            total += 1 - 2 * float((p * g).sum()) / (float(p.sum()) + float(g.sum()) + 1e-5)
    return total / (2 * len(logits))


def rank_by_loop(logits, truth, pixels, margin):
    total = 0.0
    for image, mask in zip(logits.softmax(1)[:, 1], truth[:, 0], strict=True):
        background = sorted((image * (1 - mask)).flatten().tolist(), reverse=True)[:pixels]
        lesion = [1 - x for x in sorted(((1 - image) * mask).flatten().tolist(), reverse=True)[:pixels]]
        total += sum(max(0.0, n - p + margin) for n in background for p in lesion) / pixels**2
    return total / len(logits)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 999),
    lesion=st.floats(0, 1),
    pixels=st.integers(1, 60),
    margin=st.floats(-0.5, 1),
)
def test_equals_the_plain_loop(seed, lesion, pixels, margin):
    logits, truth = batch(seed, lesion=lesion)
    assert soft_dice_loss(logits, truth).item() == pytest.approx(dice_by_loop(logits, truth), abs=1e-5)
    expected = rank_by_loop(logits, truth, pixels, margin)
    assert rank_loss(logits, truth, pixels, margin).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("lesion", "prediction", "dice"), [(1, 1, 0.5), (0, 0, 0.5), (1, 0, 1), (0, 1, 1)])
def test_one_class_alone_costs_half_even_when_perfect(lesion, prediction, dice):
    sign = 2 * prediction - 1
    logits = torch.tensor([-50.0 * sign, 50.0 * sign]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    truth = torch.full((1, 1, 8, 8), float(lesion))
    assert soft_dice_loss(logits, truth).item() == pytest.approx(dice, abs=1e-6)


def test_only_the_denominator_is_smoothed():
    truth = torch.tensor([[1.0, 0], [0, 0]], dtype=torch.float64).view(1, 1, 2, 2)
    logits = torch.cat([1 - truth, truth], dim=1) * 1000
    expected = (1 - 2 / (2 + 1e-5) + 1 - 6 / (6 + 1e-5)) / 2
    assert soft_dice_loss(logits, truth).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("lesion_pixels", [0, 1, 12, 63, 64])
def test_small_empty_and_full_masks_have_finite_gradients(lesion_pixels):
    truth = (torch.arange(64) < lesion_pixels).float().view(1, 1, 8, 8)
    logits = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    dice_rank_loss(logits, truth, SegmentationLoss()).total.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_fewer_pixels_than_compared():
    logits, truth = batch(side=4)
    assert rank_loss(logits, truth, 30).item() == pytest.approx(rank_by_loop(logits, truth, 16, 0.3), abs=1e-6)


def test_total_is_the_weighted_sum():
    total, dice, rank = dice_rank_loss(*batch(), SegmentationLoss(rank_weight=0.5, rank_pixels=7, rank_margin=0.1))
    torch.testing.assert_close(rank, rank_loss(*batch(), 7, 0.1))
    torch.testing.assert_close(total, dice + 0.5 * rank)


def test_half_precision_is_summed_in_float32():
    # In bfloat16 a sum of more than 256 ones stands still.
    logits, truth = batch(images=1, side=256)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses = dice_rank_loss(half, truth, SegmentationLoss())
    assert losses.total.dtype == torch.float32
    torch.testing.assert_close(losses, dice_rank_loss(half.float(), truth, SegmentationLoss()))


def test_gradient_of_double_logits():
    logits, truth = batch(images=2, side=5)
    logits = logits.double().requires_grad_()
    torch.autograd.gradcheck(lambda x: dice_rank_loss(x, truth.double(), SegmentationLoss(rank_pixels=4)).total, logits)


def test_evidence_outside_the_lesion_is_the_share_of_all_maps_there() -> None:
    features = torch.zeros(2, 2, 2, 2)
    features[0, 0, 0, 0], features[0, 1, 1, 1] = 3.0, 1.0
    weight = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    lesions = torch.zeros(2, 1, 32, 32)
    lesions[:, :, :16, :16] = 1
    # Class maps: 3 and -3 in the lesion, 0 and 2 outside, -1 and 1 about their mean; the second image shows nothing.
    assert evidence_outside(features, weight, lesions).tolist() == pytest.approx([2 / 8, 1.0])
    lesions[:, :, :16, :8] = 0
    assert evidence_outside(features, weight, lesions)[0] == pytest.approx(1 - 3 / 8)


def test_what_all_classes_share_is_no_evidence() -> None:
    torch.manual_seed(0)
    features, weight, shared = torch.randn(2, 4, 3, 3), torch.randn(3, 4), torch.randn(4)
    lesions = (torch.rand(2, 1, 48, 48) > 0.5).float()
    expected = evidence_outside(features, weight, lesions)
    torch.testing.assert_close(evidence_outside(features, weight + 10 * shared, lesions), expected)
