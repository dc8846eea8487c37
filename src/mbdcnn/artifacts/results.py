"""Folders at the end: an evaluation's report, and an exported graph."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from mbdcnn.artifacts.base import Artifact
from mbdcnn.artifacts.provenance import json_object


class Report(Artifact):
    """An evaluation: `report.html` to read, `metrics.json` and `per_image.csv` to compute with."""

    filename = "evaluation.json"
    version = 2

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The summary."""
        return json_object(self.path / "metrics.json")


class Export(Artifact):
    """A bundle as one graph: `model.onnx` or `model.pt2`, with how to use it under `facts` of `model.json`."""

    filename = "model.json"
    version = 1
