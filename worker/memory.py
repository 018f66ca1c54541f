"""Memory that was let go of stays with the process, since the next batch needs as much again.

By default glibc gives large pieces back to the kernel when they are freed, which clears each page anew when it is
wanted again: an eighth of the CPU time of a CPU worker. Only whoever owns the process may decide that, so this is for
the worker's own, not for programs that import the model.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's parameters, from <malloc.h>."""

LARGEST = 32 << 20
"""Bytes up to which a piece is kept; glibc takes no more."""

KEPT = 512 << 20
"""Bytes that may lie unused at the end of the heap; those of threads are smaller and are kept whole."""

OPERATOR = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables with which whoever starts the process decides instead."""


def keep_freed_memory() -> bool:
    """Set that for this process, after giving back what lies unused by now.

    Returns whether it is set: not if the environment says otherwise, or the C library is another (musl, macOS).
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or any(name in os.environ for name in OPERATOR):
        return False
    library.malloc_trim(0)
    return all([library.mallopt(M_MMAP_THRESHOLD, LARGEST), library.mallopt(M_TRIM_THRESHOLD, KEPT)])
