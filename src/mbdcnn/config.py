"""Every setting, its default and what it means.

The defaults are the paper's (Xie et al., IEEE TMI 2020) as its authors' code runs them; `configs/paper.yaml`
spells them out and the other files override them. Importing this module does not import torch.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mbdcnn.errors import UserError
from mbdcnn.system import yaml as plain_yaml

Model = TypeVar("Model", bound=BaseModel)
Probability = Annotated[float, Field(ge=0, le=1)]
Fifths = Annotated[float, Field(gt=0, le=5)]
Positive = Annotated[int, Field(ge=1)]
Shares = dict[str, Annotated[float, Field(gt=0, le=1)]]
# What a model from a stranger may ask of the machine that loads it.
Width = Annotated[float, Field(gt=0, le=8)]
Depth = Annotated[int, Field(ge=1, le=256)]
LARGEST_SIDE = 4096
BUNDLED = "bundled"
"""Name of the model that comes with the package, wherever a model, a configuration or starting weights are named."""


def _multiple_of_16(side: int) -> int:
    if side % 16 or side <= 0:
        raise ValueError(f"{side} is not a positive multiple of 16, the networks' output stride")
    if side > LARGEST_SIDE:
        raise ValueError(f"{side} is more than {LARGEST_SIDE}")
    return side


Side = Annotated[int, AfterValidator(_multiple_of_16)]
Duration = Annotated[str, Field(pattern=r"^[1-9]\d* (epoch|step)s?$")]


def in_steps(duration: str, steps_per_epoch: int) -> int:
    """Turn a duration such as `3 epochs` or `100 steps` into optimiser steps."""
    count, unit = duration.split()
    return int(count) * (steps_per_epoch if unit.startswith("epoch") else 1)


class Section(BaseModel):
    """Part of a configuration: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Views(Section):
    """Centred crops of an image, each squashed to the classifier's input."""

    fractions: Annotated[tuple[Fifths, ...], Field(max_length=32)] = (4, 3, 2, 1)
    """Crop sizes in fifths of the image, used once with the image's aspect and once as squares."""
    rare_fractions: Annotated[tuple[Fifths, ...], Field(max_length=32)] = (4, 3.5, 3, 2.5, 2, 1.5, 1)
    """The same for training images of the rare classes, which so get more patches."""
    rare_classes: tuple[str, ...] = ("melanoma", "seborrheic_keratosis")
    """Classes whose training images are cut by `rare_fractions`."""


class Data(Section):
    """How `prepare` turns pictures into arrays."""

    image_size: Side = 224
    """Side of the square every network is fed, in pixels."""
    longest_side: Positive = 1600
    """Longer side to which an image counts as limited where margins are given in pixels."""
    segmentation_size: Side = 448
    """Side of the square at which training images of the segmentation networks are kept."""
    scales: Annotated[tuple[Side, ...], Field(max_length=16)] = (224, 256, 288)
    """Sides at which enhanced-SN looks at an image in the paper's evaluation protocol."""
    views: Views = Views()
    """Crops for the classifier."""


class SegmentationNetwork(Section):
    """A DeepLabV3+ network at output stride 16."""

    backbone: str = "xception65"
    """Encoder: `xception65`, the paper's, `mobilenet_v2`, `efficientnet_lite0` to `2`, or a registered one."""
    width: Width = 1.0
    """Factor on the encoder's channel counts."""
    depth: Depth = 16
    """Middle-flow blocks of Xception-65, or at most so many blocks in each stage of the others."""
    decoder_channels: Positive = 256
    """Channels of the atrous pyramid and the decoder."""
    low_level_channels: Positive = 48
    """Channels to which the stride-4 feature is projected."""
    dilations: Annotated[tuple[Positive, ...], Field(max_length=16)] = (6, 12, 18)
    """Dilation of each 3x3 branch of the atrous pyramid; empty for 1x1 and image pooling alone."""
    separable_decoder: bool = False
    """Depthwise-separable instead of full 3x3 convolutions in pyramid and decoder."""
    dropout: Probability = 0.5
    """After the pyramid and after the decoder's first convolution; a fifth of it after the second."""
    initialisation: Literal["authors", "torch"] = "authors"
    """Convolutions without starting weights: drawn as the authors do (kaiming, fan out), or as PyTorch by itself."""
    pixel_mean: float = 0.0
    """Subtracted from pixels in [0, 1] before the first layer. Belongs to the starting weights."""
    pixel_std: Annotated[float, Field(gt=0)] = 1.0
    """Divides pixels after the mean is subtracted."""


class ClassificationNetwork(Section):
    """The mask-guided classifier at output stride 16."""

    backbone: str = "xception"
    """Trunk: `xception` of the paper, `xception_keras`, `mobilenet_v2`, `efficientnet_lite0` to `2`, or your own."""
    width: Width = 1.0
    """Factor on the channel counts."""
    depth: Depth = 8
    """Middle-flow blocks of Xception, or at most so many blocks in each stage of the others."""
    dropout: Probability = 0.0
    """On the pooled features, before the linear layer."""
    pixel_mean: float = 0.0
    """Subtracted from pixels in [0, 1] before the first layer. Belongs to the starting weights."""
    pixel_std: Annotated[float, Field(gt=0)] = 1.0
    """Divides pixels after the mean is subtracted."""


class Augmentation(Section):
    """Random changes to a training sample; geometry is drawn once for image, mask and truth."""

    crop_probability: Probability = 0.5
    """Chance of cutting an equal margin off all four sides (segmentation only)."""
    crop_margin_step: Positive = 30
    """Margins are multiples of this, in pixels of the size-limited image, below a quarter of its mean side."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest rotation either way, in degrees."""
    translate_x: Probability = 0.0
    """Largest horizontal shift as a fraction of the width, in whole pixels."""
    translate_y: Probability = 0.1
    """Largest vertical shift as a fraction of the height, in whole pixels."""
    scale: tuple[float, float] = (0.9, 1.1)
    """Range of the scale factor."""
    aspect: Annotated[float, Field(ge=1)] = 1.0
    """Largest factor by which width over height is stretched either way."""
    frame: tuple[float, float] | None = None
    """Range of width over height of the frames that images are squashed from: each is stretched as if it came from such
    a one, so that squashed images and square ones reach the network alike. As they are if not given."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 5.73
    """Largest shear along x either way, in degrees."""
    vertical_flip: Probability = 0.5
    """Chance of turning the picture upside down."""
    horizontal_flip: Probability = 0.5
    """Chance of mirroring the picture."""
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    """For the image under the affine map. Masks are always sampled nearest."""
    outside: Literal["black", "mirrored"] = "black"
    """What is seen where a map looks past the picture's edge: nothing, or the picture and its mask mirrored there."""
    brightness: Probability = 0.0
    """Largest relative change of brightness."""
    contrast: Probability = 0.0
    """Largest relative change of contrast."""
    saturation: Probability = 0.0
    """Largest relative change of saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift of hue, as a fraction of the colour circle."""
    colour_cast: Probability = 0.0
    """Largest relative change of each colour channel by itself, as by another camera or lamp."""
    blur: Probability = 0.0
    """Chance of a slight blur."""
    dark_corners: Probability = 0.0
    """Chance of dark corners, as at the rim of a round lens."""
    hairs: Probability = 0.0
    """Chance of drawn hairs."""
    noise: Probability = 0.0
    """Chance of pixel noise."""
    stickers: Probability = 0.0
    """Chance of a coloured sticker at the edge, as colour charts are laid beside a lesion."""
    background: Probability = 0.0
    """Chance that what lies round the lesion is exchanged for that of another image (mask-CN, images with a mask)."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name, limits in (("scale", self.scale), ("frame", self.frame)):
            if limits is not None and not 0 < limits[0] <= limits[1]:
                raise ValueError(f"{name}: {list(limits)} is not a range of positive factors, smallest first")
        return self


class Training(Section):
    """How one network is trained."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Adam's rate at the first step."""
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    """The rate at step t of T is `learning_rate * (1 - t / T) ** poly_power`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Share of each weight taken off at each step, times the rate (decoupled, as in AdamW)."""
    batch_size: Positive = 16
    """Samples in one optimiser step, over all devices."""
    length: Duration = "500 epochs"
    """How long to train: `N epochs` (passes over the training set) or `N steps` (optimiser steps)."""
    validate_every: Duration = "1 epoch"
    """Time between two validations, in epochs or steps."""
    validate_from: Annotated[int, Field(ge=0)] = 0
    """No validation before this step, which is the first to be validated unless `validate_every` is more."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks under autocast. `fp16` needs a GPU."""
    freeze_batch_norm: bool = False
    """Keep batch-norm statistics as they start."""
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share that a running average of the weights keeps at each step (EMA), such as 0.998; the average is what is
    validated and kept. 0 for none."""
    small_side: Side | None = None
    """Side of the training pictures in the first part of the schedule, in pixels: smaller ones take less time. The
    networks' own if not given."""
    small_part: Probability = 0.6
    """Which part of the schedule that is."""
    early_stopping: Positive | None = None
    """Stop after so many validations without a better one; never if not given."""

    @model_validator(mode="after")
    def _enough_for_batch_norm(self) -> Self:
        if self.batch_size == 1 and not self.freeze_batch_norm:
            raise ValueError("batch_size: 1 is too few for batch norm to train on; give 2 or freeze_batch_norm: true")
        return self


class SegmentationLoss(Section):
    """Soft Dice plus rank loss."""

    rank_weight: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the rank loss beside the Dice loss."""
    rank_pixels: Positive = 30
    """K: how many of the hardest pixels of each kind are compared."""
    rank_margin: float = 0.3
    """Wanted lead of a lesion pixel's probability over a background pixel's."""


class Coarse(Section):
    """coarse-SN: a rough mask from the image alone."""

    network: SegmentationNetwork = SegmentationNetwork()
    training: Training = Training(precision="bf16")
    loss: SegmentationLoss = SegmentationLoss()
    augmentation: Augmentation = Augmentation()
    source_shares: Shares = {}
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
    source_shares: Shares = {}
    """Share of the training patches that comes from each named source; those not named share the rest by size."""
    crops: bool = True
    """Train on the crops of an image too, not on the whole of it alone."""
    evidence_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a second loss, the share of the class evidence (absolute activation maps of all classes) that lies
    outside the true lesion, on images that have a mask. 0 for the paper's training."""


class Enhanced(Section):
    """enhanced-SN: the final mask from the image and the classifier's activation map."""

    network: SegmentationNetwork = SegmentationNetwork()
    training: Training = Training(learning_rate=5e-5, precision="bf16")
    loss: SegmentationLoss = SegmentationLoss()
    augmentation: Augmentation = Augmentation()
    source_shares: Shares = {}
    """Share of the training images that comes from each named source; those not named share the rest by size."""
    initial_weights: str | None = None
    """Starting weights as for coarse-SN; coarse-SN's own if not given."""
    guidance_start: Literal["random", "identity"] = "random"
    """The layer that mixes in the activation map starts at random, as in the authors' code, or passes coarse-SN's
    features on as they are, so that training begins where coarse-SN's ended. Starting weights that hold it go with
    `random` alone, and it starts as theirs."""


class Evaluation(Section):
    """How results are scored."""

    bootstrap_samples: Annotated[int, Field(ge=0)] = 1000
    """Resamples behind each 95 % interval."""


class Calibration(Section):
    """How class probabilities are calibrated and operating points chosen when a bundle is written."""

    folds: Annotated[int, Field(ge=0, le=20)] = 0
    """Predictions come from networks that did not see the image, trained for each of so many folds of the training
    images; 0 for the final networks on validation images, which chose their weights and so flatter."""
    class_name: str = "melanoma"
    """Class that the operating points are for."""
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
    """Pictures that `prepare` decodes at a time; 0 means one a core."""


class Config(Section):
    """One whole experiment."""

    classes: Annotated[tuple[str, ...], Field(min_length=2)] = ("nevus", "melanoma", "seborrheic_keratosis")
    """Class names in the order of the classifier's outputs; the first is the benign rest."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of initial weights, data order and augmentation."""
    cam: Literal["reference", "relu"] = "reference"
    """Activation maps keep their negative values, as in the authors' code, or are clipped at 0."""
    committee: Annotated[int, Field(ge=1, le=21)] = 1
    """Networks that together are the model's mask-CN, their logits and activation maps averaged. With more than 1 they
    are the first of those that each leave out a fold for calibration; none then learns from all training images."""
    data: Data = Data()
    coarse: Coarse = Coarse()
    classifier: Classifier = Classifier()
    enhanced: Enhanced = Enhanced()
    calibration: Calibration = Calibration()
    evaluation: Evaluation = Evaluation()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: a name stands twice in {list(self.classes)}")
        if self.data.image_size not in self.data.scales:
            raise ValueError(f"data.scales must hold data.image_size ({self.data.image_size})")
        for stage in ("coarse", "classifier", "enhanced"):
            small = getattr(self, stage).training.small_side
            if small is not None and small > self.data.image_size:
                raise ValueError(f"{stage}.training.small_side: {small} is more than data.image_size")
        first, second = self.coarse.folds, self.calibration.folds
        if first and second and first != second:
            raise ValueError(f"coarse.folds ({first}) and calibration.folds ({second}) share networks; give one number")
        if self.committee > max(second, 1):
            raise ValueError(f"committee: {self.committee} of the networks of {second} calibration.folds; add folds")
        return self


def load_config(source: str | Path | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a configuration: defaults, overridden by a YAML file, overridden by `KEY=VALUE` flags.

    Args:
        source: name of a configuration that ships with the package (`paper`, `compact`, `finetune`, `demo`; `bundled`
            for that of the shipped model), a YAML file, or a run or bundle folder whose configuration is used again.
            None for the defaults. A file may name another of these, relative to itself, as `base`, whose settings hold
            where it says nothing.
        overrides: dotted settings such as `coarse.training.length=10 epochs`; values are YAML.

    Raises:
        UserError: a file is missing or not YAML, a key unknown, a value out of range.
    """
    name, settings = ("defaults", {}) if source is None else _read_yaml(source)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"--set {override}: expected KEY=VALUE, such as coarse.training.batch_size=8")
        _assign(settings, key.split("."), plain_yaml.read(value, f"--set {override}"))
    return parse(Config, _merge(Config().model_dump(mode="json"), settings), name)


def parse(model: type[Model], settings: Any, name: str) -> Model:
    """Validate settings, naming the place and the known keys in one line where they are wrong.

    Raises:
        UserError: what is wrong first, and how many more mistakes there are.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise UserError(f"{name}: {_first_mistake(model, error)}") from None


def save_config(config: Config, path: Path) -> None:
    """Write every setting as YAML."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("mbdcnn") / "configs"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def bundled_folder() -> Path:
    """Give the folder that `bundled` names.

    Raises:
        UserError: there is a model in a folder of that name here.
    """
    if os.path.isfile(os.path.join(BUNDLED, "config.yaml")):
        raise UserError(
            f"{BUNDLED}: names the model that comes with mbdcnn, but there is one in a folder here too; name that one "
            f"{os.path.abspath(BUNDLED)}"
        )
    return Path(str(resources.files("mbdcnn") / BUNDLED))


def _read_yaml(source: str | Path, above: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    if str(source) in above:
        raise UserError(f"{source}: based on itself, by way of {', '.join(above)}")
    # Not Path's own questions, which raise an error where a name is too long.
    given = bundled_folder() if str(source) == BUNDLED else source
    path, is_folder = Path(given), os.path.isdir(given)
    if is_folder:
        path = path / "config.yaml"
    if path.suffix in {".yaml", ".yml"} and os.path.isfile(path):
        settings = plain_yaml.read_file(path) or {}
    elif str(source) in shipped_configs():
        text = (resources.files("mbdcnn") / "configs" / f"{source}.yaml").read_text()
        settings = plain_yaml.read(text, str(source)) or {}
    else:
        known = ", ".join([*shipped_configs(), BUNDLED])
        raise UserError(f"{source}: no such configuration; give a YAML file or one of {known}")
    if not isinstance(settings, dict):
        raise UserError(f"{source}: expected settings such as 'seed: 1', found {type(settings).__name__}")
    base = settings.pop("base", None)
    if base is None:
        return str(source), settings
    if is_folder:
        raise UserError(f"{path}: names a base, but must be whole: its checksum covers this file alone")
    beside = path.parent / str(base)
    _, below = _read_yaml(beside.resolve() if os.path.exists(beside) else str(base), (*above, str(source)))
    return str(source), _merge(below, settings)


def _merge(defaults: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in settings.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _assign(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = settings.get(key)
        settings[key] = settings = dict(inner) if isinstance(inner, dict) else {}
    settings[keys[-1]] = value


def _first_mistake(model: type[BaseModel], error: ValidationError) -> str:
    mistakes = error.errors()
    first = mistakes[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(_section_at(model, first["loc"][:-1]).model_fields)
        text = f"unknown key '{place}'; known here: {known}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_type" and (word := plain_yaml.quoted(first["input"])):
            message = f"YAML does not take yes, no, on, off and numbers for text; put quotes round each, such as {word}"
        text = f"{place}: {message}" if place else message
    return text + (f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else "")


def _section_at(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    for part in location:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return model
