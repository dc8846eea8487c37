from __future__ import annotations

import subprocess
import sys

import pytest

from mbdcnn.system.memory import keep_freed_memory

PROGRAM = """
import resource
from mbdcnn.system.memory import keep_freed_memory
if {keep}:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

bytearray(100 << 20)
before = faults()
for _ in range(5):
    bytearray(100 << 20)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_once_had_is_not_cleared_anew() -> None:
    def faults(keep: bool) -> int:
        command = [sys.executable, "-c", PROGRAM.format(keep=keep)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # 25,600 pages of 4 kB in each array.
    assert faults(keep=True) < 1000 < faults(keep=False)


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("ctypes.CDLL", None)
    keep_freed_memory()
