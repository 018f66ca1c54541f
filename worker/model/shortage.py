"""A device whose memory does not suffice: how it says so, and how much it is given from then on.

Errors come in; whether they mean that comes out. The batch is halved when it does not fit, and grown back slowly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

GROW_AFTER = 50
"""Batches in a row that must fit before a GPU is given more again."""

SHORTAGES = ("out of memory", "ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED", "unable to find an engine")
"""How libraries beside PyTorch's own allocator say that a GPU's memory does not suffice; the last is cuDNN."""


def is_shortage(error: BaseException) -> bool:
    """Return whether an error says that a device's memory does not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in SHORTAGES)
    )


def shortage_in(call: Callable[[], object]) -> str:
    """Call; return what the device says if its memory does not suffice, and "" if it does.

    The text and not the error, whose traceback would keep the tensors alive.
    """
    try:
        call()
    except RuntimeError as error:
        if is_shortage(error):
            return str(error)
        raise
    return ""


class BatchLimit:
    """How many rows a GPU has in flight at a time: halved when its memory does not suffice, grown back slowly.

    Always whole blocks of the canonical shape, so that no result depends on it.
    """

    def __init__(self, block: int, most: int) -> None:
        self.block, self.most = block, max(block, most // block * block)
        self.rows, self._successes = self.most, 0

    def shrink(self, taken: int) -> bool:
        """Halve what was taken; return False if that was no more than one block."""
        self._successes = 0
        self.rows = max(self.block, min(self.rows, taken) // 2 // self.block * self.block)
        return taken > self.block

    def succeeded(self, taken: int) -> None:
        """Note that rows fitted; after GROW_AFTER times in a row that all were taken that may be, a block is added."""
        if taken < self.rows:
            return
        self._successes += 1
        if self._successes >= GROW_AFTER and self.rows < self.most:
            self.rows, self._successes = self.rows + self.block, 0
