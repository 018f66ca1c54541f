"""The settings of PyTorch under which results are defined, in force while anything is computed.

They are global to a process, which may have others for its own work: these are put back when nothing is computed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import torch

from worker.errors import SetupError

_CPU: Any = torch.backends.mkldnn
_CUDNN: Any = torch.backends.cudnn

SETTINGS: tuple[tuple[Any, str, object], ...] = (
    (_CPU, "enabled", True),
    (_CPU.matmul, "fp32_precision", "ieee"),
    (_CPU.conv, "fp32_precision", "ieee"),
    (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
    (_CUDNN.conv, "fp32_precision", "ieee"),
    (_CUDNN.rnn, "fp32_precision", "ieee"),
    (_CUDNN, "deterministic", True),
    (_CUDNN, "benchmark", False),
)
"""Full precision in float32 (no TF32, no bfloat16 inside), and algorithms that give the same bits each time."""

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"

log = structlog.get_logger(__name__)

_lock = threading.Lock()
_inside = 0
_before: list[object] = []


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Hold the settings as they must be; several threads may be inside at once.

    Raises:
        SetupError: if PyTorch's default type is another than float32, which cannot be changed for others meanwhile.
    """
    if torch.get_default_dtype() is not torch.float32:
        raise SetupError(
            f"PyTorch's default type is {torch.get_default_dtype()}, with which a network may compute other results: "
            "call torch.set_default_dtype(torch.float32) before generating (a file of yours may have changed it)"
        )
    _enter()
    try:
        yield
    finally:
        _leave()


def prepare_cuda() -> None:
    """Ask for deterministic algorithms on GPUs; to be called before anything else uses one."""
    if CUBLAS not in os.environ:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            log.warning(
                "the GPU was in use before the model was loaded: set the variable at start for results of equal bits",
                action="cublas_not_configured",
                variable=f"{CUBLAS}=:4096:8",
            )
        os.environ[CUBLAS] = ":4096:8"  # read by cuBLAS when it starts
    torch.use_deterministic_algorithms(True, warn_only=True)


def _enter() -> None:
    global _inside
    with _lock:
        if not _inside:
            _before[:] = [getattr(place, name) for place, name, _ in SETTINGS]
            for place, name, value in SETTINGS:
                _set(place, name, value)
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            for (place, name, _), value in zip(SETTINGS, _before, strict=True):
                _set(place, name, value)


def _set(place: Any, name: str, value: object) -> None:
    if getattr(place, name) != value:
        setattr(place, name, value)
