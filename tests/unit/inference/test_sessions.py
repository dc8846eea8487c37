from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = """
from pathlib import Path
from mbdcnn.inference.sessions import onnx_network
try:
    onnx_network(Path("none.onnx"))
except Exception as error:
    print(type(error).__name__)
"""


def test_onnx_runtime_reports_to_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | homes
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "NoSuchFile" in done.stdout, done.stderr
    assert [*tmp_path.rglob("*")] == []
