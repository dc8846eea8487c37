"""Settings of the three networks, of calibration and evaluation, and all of them together."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mbdcnn.config.base import Probability, Section, Shares
from mbdcnn.config.networks import ClassificationNetwork, Data, SegmentationNetwork
from mbdcnn.config.training import Augmentation, SegmentationLoss, Training

CamMode: TypeAlias = Literal["reference", "relu", "centred"]
"""What becomes of activation maps below 0, and of what all classes have in common: `Config.cam`."""


class Coarse(Section):
    """coarse-SN: a rough mask from the image alone."""

    network: SegmentationNetwork = SegmentationNetwork()
    training: Training = Training(precision="auto")
    loss: SegmentationLoss = SegmentationLoss()
    augmentation: Augmentation = Augmentation()
    source_shares: Shares = Field(default_factory=dict)
    """Share of the training images that comes from each named source; those not named share the rest by size."""
    initial_weights: str | None = None
    """Starting weights: a weight file, a run or bundle, or `bundled` for the model that comes with the package;
    random if not given."""
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    """Coarse masks of training images come from networks that did not see them, one for each of so many folds;
    0 for the paper's way: from the network that was trained on them."""

    @model_validator(mode="after")
    def _more_than_one_fold(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds: 1 would leave nothing to train on; give 0 or at least 2")
        return self


class Classifier(Section):
    """mask-CN: classes and their activation maps from the image and its coarse mask."""

    network: ClassificationNetwork = ClassificationNetwork()
    training: Training = Training(batch_size=32, length="50001 steps", validate_every="100 steps", validate_from=601)
    augmentation: Augmentation = Augmentation(crop_probability=0)
    initial_weights: str | None = None
    """Starting weights: a weight file, a run or bundle, or `bundled` for the model that comes with the package;
    random if not given."""
    label_smoothing: Probability = 0.0
    """Share of each label that is spread evenly over all classes."""
    balance: Probability = 0.0
    """Sampling of training patches: 0 as they come, 1 all classes of a source equally often, up to ten times as often
    as they come."""
    source_shares: Shares = Field(default_factory=dict)
    """Share of the training patches that comes from each named source; those not named share the rest by size."""
    crops: bool = True
    """Train on the crops of an image too, not on the whole of it alone."""
    evidence_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a second loss, the share of the class evidence (all classes' activation maps less their mean, absolute)
    that lies outside the true lesion, on images that have a mask. 0 for the paper's training."""


class Enhanced(Section):
    """enhanced-SN: the final mask from the image and the classifier's activation map."""

    network: SegmentationNetwork = SegmentationNetwork()
    training: Training = Training(learning_rate=5e-5, precision="auto")
    loss: SegmentationLoss = SegmentationLoss()
    augmentation: Augmentation = Augmentation()
    source_shares: Shares = Field(default_factory=dict)
    """Share of the training images that comes from each named source; those not named share the rest by size."""
    initial_weights: str | None = None
    """Starting weights as for coarse-SN; coarse-SN's own if not given."""
    guidance_start: Literal["random", "mixed", "identity"] = "random"
    """The layer that mixes in the activation map starts at random, as in the authors' code, or passes coarse-SN's
    features on as they are, so that training begins where coarse-SN's ended: with `identity` the map's weights start at
    0, with `mixed` so that it moves the features by about their spread. Starting weights that hold the layer go with
    `random` alone, and it starts as theirs."""
    true_masks: Probability = 0.0
    """Share of training images whose activation map comes from the true lesion in place of the coarse mask, so that
    enhanced-SN learns to follow an outline that a person corrected."""


class Evaluation(Section):
    """How results are scored."""

    bootstrap_samples: Annotated[int, Field(ge=0)] = 1000
    """Resamples behind each 95 % interval."""


class Calibration(Section):
    """How class probabilities are calibrated and operating points chosen when a bundle is written."""

    folds: Annotated[int, Field(ge=0, le=20)] = 0
    """Predictions come from networks that did not see the image, trained for each of so many folds of the training
    images; 0 for the final networks on validation images, which chose their weights, so optimistically biased."""
    sources: tuple[str, ...] = ()
    """Sources whose images count, such as the one that is most like what the model is for; empty for all."""
    class_name: str = "melanoma"
    """Class that the operating points are for; of other classes than the default `malignant`, else the second, if not
    given."""
    sensitivities: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.8, 0.95)
    """Sensitivities at which to put operating points."""

    @model_validator(mode="after")
    def _more_than_one_fold(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds: 1 would leave nothing to train on; give 0 or at least 2")
        return self


class Runtime(Section):
    """Where the work runs. Changes no result beyond rounding and is no part of what makes an artefact current."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`. `auto` takes a GPU where there is one."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Images that `prepare` decodes at a time; 0 means one a core."""


class Config(Section):
    """One whole experiment."""

    classes: Annotated[tuple[str, ...], Field(min_length=2)] = ("nevus", "melanoma", "seborrheic_keratosis")
    """Class names in the order of the classifier's outputs; the first is the benign rest. If none are given and all
    data are tables of your own with other labels, those of the tables."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of initial weights, data order and augmentation."""
    cam: CamMode = "reference"
    """Activation maps keep their negative values, as in the authors' code; or are clipped at 0 (`relu`); or show what
    speaks for the class rather than the others, clipped at 0 (`centred`)."""
    ensemble: Annotated[int, Field(ge=1, le=21)] = 1
    """Networks that together are the model's mask-CN, their logits and activation maps averaged. With more than 1 they
    are the first of those that each leave out a fold for calibration; none then learns from all training images."""
    data: Data = Data()
    coarse: Coarse = Coarse()
    classifier: Classifier = Classifier()
    enhanced: Enhanced = Enhanced()
    calibration: Calibration = Calibration()
    evaluation: Evaluation = Evaluation()
    runtime: Runtime = Runtime()

    @property
    def classes_given(self) -> bool:
        """Whether classes were configured rather than left at their default."""
        return "classes" in self.model_fields_set

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: duplicate name in {list(self.classes)}")
        if self.data.image_size not in self.data.scales:
            raise ValueError(f"data.scales must hold data.image_size ({self.data.image_size})")
        for stage in ("coarse", "classifier", "enhanced"):
            small = getattr(self, stage).training.small_side
            if small is not None and small > self.data.image_size:
                raise ValueError(f"{stage}.training.small_side: {small} is more than data.image_size")
        first, second = self.coarse.folds, self.calibration.folds
        if first and second and first != second:
            raise ValueError(f"coarse.folds ({first}) and calibration.folds ({second}) share networks; give one number")
        if self.ensemble > max(second, 1):
            raise ValueError(f"ensemble: {self.ensemble} of the networks of {second} calibration.folds; add folds")
        return self
