"""The model that the settings name."""

from __future__ import annotations

from worker.model.engine import Engine
from worker.settings import WorkerSettings


def load_engine(settings: WorkerSettings) -> Engine:
    """Return the model on its device; raises what :class:`~worker.model.engine.Engine` raises."""
    return Engine(
        settings.checkpoint,
        settings.tokenizer,
        device=None if settings.device == "auto" else settings.device,
        threads=settings.cpu_threads or None,
    )
