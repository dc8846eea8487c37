"""The folders that pass between stages: what they hold, how they were made, and whether they are whole.

Importing this package does not import torch.
"""

from mbdcnn.artifacts.base import EDITABLE, Artifact, Draft, draft_path
from mbdcnn.artifacts.prepared import RAW, Bytes, MaskSet, PreparedData, pack, prepared_with, unpack
from mbdcnn.artifacts.results import Export, Report
from mbdcnn.artifacts.trained import Bundle, Run, Trained, check_same_data

__all__ = [
    "EDITABLE",
    "RAW",
    "Artifact",
    "Bundle",
    "Bytes",
    "Draft",
    "Export",
    "MaskSet",
    "PreparedData",
    "Report",
    "Run",
    "Trained",
    "check_same_data",
    "draft_path",
    "pack",
    "prepared_with",
    "unpack",
]
