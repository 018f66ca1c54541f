"""The systems that are compared, one module for each; those that need more than the tests do are imported when used."""

from __future__ import annotations

from importlib import import_module

from tests.benchmarks.systems.base import System

SYSTEMS = {
    "celery": ("celery_stock", "CeleryStock"),
    "celery-batches": ("celery_stock", "CeleryBatches"),
    "litserve": ("litserve_http", "LitServe"),
    "seedmill": ("seedmill", "Seedmill"),
    "seedmill-two": ("seedmill", "SeedmillTwo"),
}
"""Where each system is, by the name that the command line has for it."""


def find(name: str) -> type[System]:
    """Return the class of a system."""
    module, attribute = SYSTEMS[name]
    found: type[System] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found
