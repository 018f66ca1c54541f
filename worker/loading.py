"""The model that the settings name."""

from __future__ import annotations

import gc

import structlog
import torch

from worker.errors import OutOfDeviceMemory
from worker.model.engine import Engine
from worker.model_cache import check_digest, model_files
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)


def load_engine(settings: WorkerSettings) -> Engine:
    """Return the model on its device; raises what :class:`~worker.model.engine.Engine` raises."""
    return _on(settings, None if settings.device == "auto" else settings.device)


def load_checked_engine(settings: WorkerSettings) -> Engine:
    """Return the model after its self-check, on the CPU if the settings allow that and the GPU's memory is too small.

    Raises:
        SetupError: what :class:`~worker.model.engine.Engine` and its self-check raise.
    """
    try:
        return _checked(load_engine(settings))
    except OutOfDeviceMemory as error:
        if not settings.cpu_fallback:
            raise
        shortage = str(error)  # not the error itself, whose traceback keeps the model on the GPU
    log.warning("the GPU's memory does not suffice, using the CPU", action="cpu_fallback", error=shortage)
    gc.collect()
    torch.cuda.empty_cache()
    return _checked(_on(settings, "cpu"))


def _checked(engine: Engine) -> Engine:
    if not engine.checked:
        engine.self_check()
    return engine


def _on(settings: WorkerSettings, device: str | None) -> Engine:
    checkpoint, tokenizer = model_files(settings)
    engine = Engine(
        checkpoint,
        tokenizer,
        architecture=settings.architecture or None,
        precision=settings.precision,
        device=device,
        threads=settings.cpu_threads or None,
    )
    check_digest(settings.checkpoint, engine.info.checkpoint_sha256, settings.checkpoint_sha256)
    check_digest(settings.tokenizer, engine.info.tokenizer_sha256, settings.tokenizer_sha256)
    return engine
