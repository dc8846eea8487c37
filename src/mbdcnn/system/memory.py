"""Memory that the C library keeps."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Of `mallopt`, in glibc's `malloc.h`."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for what comes next, from now on, in this process; elsewhere do nothing.

    Left to itself it gives every array of more than 32 MB back to the system, which must then clear it anew, at each
    layer of each training step.
    """
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"):
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 100 << 20)
