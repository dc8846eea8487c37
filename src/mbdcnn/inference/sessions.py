"""Graphs loaded into ONNX Runtime. Imports it only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def onnx_session(file: Path) -> Any:
    """Load a graph, to run on the CPU."""
    # Its own builds from 1.29 on report their use to Microsoft and leave an identifier on the disk; read at its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait in a loop took a third more time and half more CPU where other work shares the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
