"""Training of coarse-SN and enhanced-SN."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from mbdcnn.config import CamMode, Coarse, Enhanced
from mbdcnn.models import CoarseSegmenter, EnhancedSegmenter, MaskGuidedClassifier, guide
from mbdcnn.training.augment import Augmenter
from mbdcnn.training.batches import Batch, as_images, as_masks
from mbdcnn.training.losses import dice_rank_loss
from mbdcnn.training.task import Course, Task
from mbdcnn.types import Images, MaskLogits, Masks


class SegmentationTask(Task):
    """Train a network to outline lesions from the image alone."""

    score = "jaccard"

    def __init__(
        self, network: CoarseSegmenter | EnhancedSegmenter, course: Course, section: Coarse | Enhanced
    ) -> None:
        super().__init__(network, course)
        self.loss_settings = section.loss
        self.augment = Augmenter(section.augmentation, self.side)
        self.jaccard = MeanMetric(nan_strategy="ignore")

    def logits(self, images: Images, coarse: Masks | None) -> MaskLogits:
        """Run the network."""
        logits: MaskLogits = self.network(images)
        return logits

    def given(self, truth: Masks, coarse: Masks) -> Masks:
        """Choose the masks that mask-CN is given."""
        return coarse

    def loss(self, batch: Batch) -> Tensor:
        """Compute the hybrid loss on the augmented batch."""
        self.augment.side = self.side_now()
        masks = [as_masks(batch[name]) for name in ("truth", "coarse") if name in batch]
        images, masks = self.augment(as_images(batch["images"]), masks, batch["frames"], batch["aspects"])
        coarse = self.given(masks[0], masks[1]) if len(masks) > 1 else None
        loss = dice_rank_loss(self.logits(images, coarse), masks[0], self.loss_settings)
        parts = {"train_dice": loss.dice.detach(), "train_rank": loss.rank.detach()}
        self.log_dict(parts, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss.total

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Score the masks of one view at the network's size."""
        coarse = as_masks(batch["coarse"]) if "coarse" in batch else None
        logits = self.logits(as_images(batch["images"]), coarse)
        self.jaccard.update(_jaccard(logits[:, 1:] > logits[:, :1], as_masks(batch["truth"]) > 0))

    def on_validation_epoch_end(self) -> None:
        """Log the mean Jaccard index of the validation images."""
        self.log(self.score, self.jaccard.compute())
        self.jaccard.reset()


class EnhancedSegmentationTask(SegmentationTask):
    """Train a network that also sees the activation map of the frozen classifier."""

    def __init__(
        self,
        network: EnhancedSegmenter,
        course: Course,
        section: Enhanced,
        classifier: MaskGuidedClassifier,
        cam: CamMode,
    ) -> None:
        super().__init__(network, course, section)
        # In a tuple, so that Lightning neither trains it nor writes it into every checkpoint.
        self.frozen = (classifier.eval().requires_grad_(False),)
        self.cam = cam
        self.true_masks = section.true_masks

    def on_fit_start(self) -> None:
        """Put the classifier where the training runs."""
        self.frozen[0].to(self.device)

    def given(self, truth: Masks, coarse: Masks) -> Masks:
        """Choose the masks that mask-CN is given: true ones in some images."""
        if not self.true_masks:
            return coarse
        true = (torch.rand(len(truth)) < self.true_masks).to(truth.device, non_blocking=True)
        return torch.where(true.view(-1, 1, 1, 1), truth, coarse)

    def logits(self, images: Images, coarse: Masks | None) -> MaskLogits:
        """Compute the activation map on the very images and masks that the network is given."""
        if coarse is None:
            raise ValueError("enhanced-SN is trained with coarse masks")
        with torch.no_grad():
            maps = guide(self.frozen[0], images, coarse, self.cam).activation_maps
        logits: MaskLogits = self.network(images, maps)
        return logits


def _jaccard(prediction: Tensor, truth: Tensor) -> Tensor:
    overlap = (prediction & truth).sum(dim=(1, 2, 3))
    return overlap / (prediction | truth).sum(dim=(1, 2, 3))
