"""Graphs loaded into ONNX Runtime. Imports it only then."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def onnx_network(file: Path) -> Callable[[Sequence[Any]], list[Any]]:
    """Load a graph, to run on the CPU: from its inputs, in their order, to its outputs."""
    # Its own builds from 1.29 on report their use to Microsoft and leave an identifier on the disk; read at its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait in a loop took a third more time and half more CPU where other work shares the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda arrays: list(session.run(None, dict(zip(names, arrays, strict=True))))
