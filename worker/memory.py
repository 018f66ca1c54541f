"""Memory that was let go of stays with the process, since the next batch needs as much again.

By default glibc gives large pieces back to the kernel at once, which clears each of their pages anew: an eighth of the
CPU time of a CPU worker. Only whoever owns the process may decide that, so this is for the worker's own, not for
programs that import the model.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's parameters, from <malloc.h>."""

LARGEST = 32 << 20
"""Bytes up to which a piece is kept; glibc takes no more."""

KEPT = 512 << 20
"""Bytes that may lie unused at the end of each arena."""


def keep_freed_memory() -> bool:
    """Set that for this process; returns whether the C library knows it (musl and macOS do not)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(M_MMAP_THRESHOLD, LARGEST), mallopt(M_TRIM_THRESHOLD, KEPT)])
