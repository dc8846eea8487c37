"""Every setting, its default and what it means.

The defaults are the paper's (Xie et al., IEEE TMI 2020) as its authors' code runs them; `configs/paper.yaml`
spells them out and the other files override them. Importing this module does not import torch.
"""

from __future__ import annotations

from mbdcnn.config.base import LARGEST_SIDE, Duration, Section, in_steps
from mbdcnn.config.classes import with_classes
from mbdcnn.config.experiment import Calibration, CamMode, Classifier, Coarse, Config, Enhanced, Evaluation, Runtime
from mbdcnn.config.loading import BUNDLED, bundled_folder, load_config, parse, save_config, shipped_configs
from mbdcnn.config.networks import ClassificationNetwork, Data, SegmentationNetwork, Views
from mbdcnn.config.training import Augmentation, SegmentationLoss, Training

__all__ = [
    "BUNDLED",
    "LARGEST_SIDE",
    "Augmentation",
    "Calibration",
    "CamMode",
    "ClassificationNetwork",
    "Classifier",
    "Coarse",
    "Config",
    "Data",
    "Duration",
    "Enhanced",
    "Evaluation",
    "Runtime",
    "Section",
    "SegmentationLoss",
    "SegmentationNetwork",
    "Training",
    "Views",
    "bundled_folder",
    "in_steps",
    "load_config",
    "parse",
    "save_config",
    "shipped_configs",
    "with_classes",
]
