"""Names a user chooses from. Imports nothing, so that the command line starts fast."""

from __future__ import annotations

from typing import Literal

ProtocolName = Literal["fast", "paper"]
RuntimeName = Literal["torch", "onnx", "openvino", "openvino-bf16"]
RuntimeChoice = RuntimeName | Literal["auto"]
