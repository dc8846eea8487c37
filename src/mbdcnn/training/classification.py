"""Training of mask-CN."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mbdcnn.config import Classifier
from mbdcnn.metrics.classes import mean_auc
from mbdcnn.models import MaskGuidedClassifier
from mbdcnn.models.head import class_metadata
from mbdcnn.training.augment import Augmenter
from mbdcnn.training.batches import Batch, ClassificationPatches, as_images, as_masks
from mbdcnn.training.losses import evidence_outside
from mbdcnn.training.occlusions import exchange_background
from mbdcnn.training.task import Course, Task


class ClassificationTask(Task):
    """Train the mask-guided classifier on patches; score it on whole validation images, views averaged."""

    score = "mean_auc"
    network: MaskGuidedClassifier

    def __init__(
        self,
        network: MaskGuidedClassifier,
        course: Course,
        section: Classifier,
        validation: ClassificationPatches,
        classes: tuple[str, ...],
    ) -> None:
        super().__init__(network, course)
        self.section = section
        self.augment = Augmenter(section.augmentation, self.side)
        self.validation = validation
        self.file_metadata = class_metadata("classifier", classes)
        self.probabilities = torch.zeros(len(validation), len(classes))

    def loss(self, batch: Batch) -> Tensor:
        """Compute the cross-entropy on the augmented patches and their coarse masks, and where the evidence lies."""
        self.augment.side = self.side_now()
        images = as_images(batch["images"])
        masks = [as_masks(batch[name]) for name in ("coarse", "truth") if name in batch]
        if chance := self.augment.settings.background:
            images = exchange_background(images, masks[1], batch["has_truth"], chance)
        images, masks = self.augment(images, masks, None, batch["aspects"])
        logits, features = self.network(images, masks[0])
        loss = F.cross_entropy(logits, batch["targets"], label_smoothing=self.section.label_smoothing)
        if self.section.evidence_weight:
            outside = evidence_outside(features, self.network.head.weight, masks[1])
            known = (batch["has_truth"] & (masks[1].amax((1, 2, 3)) > 0)).float()
            stray = (outside * known).sum() / known.sum().clamp(min=1)
            self.log("train_evidence_outside", stray.detach(), on_step=False, on_epoch=True, batch_size=len(images))
            loss = loss + self.section.evidence_weight * stray
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the probabilities of each view."""
        logits = self.network(as_images(batch["images"]), as_masks(batch["coarse"])).logits
        self.probabilities[batch["positions"].cpu()] = logits.float().softmax(dim=1).cpu()

    def on_validation_epoch_end(self) -> None:
        """Log the mean AUC of the classes other than the first, on view-averaged probabilities."""
        # Every process has filled in its own rows; the others are zero.
        gathered = self.all_gather(self.probabilities.to(self.device))
        assert isinstance(gathered, Tensor)
        probabilities = gathered.sum(dim=0) if gathered.dim() == 3 else gathered
        averaged = _average_by_owner(probabilities.double().cpu().numpy(), self.validation.owners)
        score = mean_auc(averaged, self.validation.image_labels)
        assert score is not None, "validation holds at least two classes"
        self.log(self.score, score)
        self.probabilities.zero_()


def _average_by_owner(
    probabilities: np.ndarray[Any, np.dtype[np.float64]], owners: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    sums = np.zeros((owners.max() + 1, probabilities.shape[1]))
    np.add.at(sums, owners, probabilities)
    return sums / np.bincount(owners)[:, None]
