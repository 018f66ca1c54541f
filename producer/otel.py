"""Where our own processes send their spans: OTLP over HTTP, set up from the variables that OpenTelemetry defines.

This module alone needs the extra ``otel``, and imports it when spans are to be sent. A collector that is away
costs spans and nothing else.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from producer import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
PACKAGES = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
"""What the extra ``otel`` installs."""

Warn = Callable[[str], object]


class Export:
    """Spans of this process on their way to a collector.

    Args:
        provider: gives tracers, and has the processor that sends.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider

    def close(self, timeout_s: float) -> bool:
        """Send what has ended and no more; returns False if that was not done in time, and the rest is dropped."""
        thread = threading.Thread(target=self.provider.shutdown, name="otel-flush", daemon=True)
        thread.start()
        thread.join(timeout_s)
        return not thread.is_alive()


def open_export(service: str, warn: Warn) -> Export | None:
    """Send the spans of this process from now on, if the environment says where to; returns ``None`` if not.

    Args:
        service: what the process is called, unless ``OTEL_SERVICE_NAME`` or ``OTEL_RESOURCE_ATTRIBUTES`` say otherwise.
        warn: is told in one line why no spans are sent although an endpoint is set.
    """
    endpoint = _first(ENDPOINTS)
    if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = {name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "").split(",")} - {""}
    if exporters == {"none"}:
        return None
    protocol = _first(PROTOCOLS)
    try:
        if exporters and "otlp" not in exporters:
            raise ValueError(f"OTEL_TRACES_EXPORTER={','.join(sorted(exporters))!r}: use otlp or none")
        if protocol and os.environ[protocol] != PROTOCOL:
            raise ValueError(f"{protocol}={os.environ[protocol]!r}: use {PROTOCOL}, whose port is 4318 as a rule")
        return Export(_provider(service))
    except ModuleNotFoundError as error:
        warn(f"{endpoint} is set but no traces are sent: {error.name} is missing, pip install {PACKAGES}")
    except Exception as error:  # the SDK has many variables, and none of them is worth a worker
        warn(f"{endpoint} is set but no traces are sent: {error}")
    return None


def _first(names: tuple[str, ...]) -> str | None:
    """Return the first of these variables that is set."""
    return next((name for name in names if os.environ.get(name)), None)


def _provider(service: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import get_tracer_provider, set_tracer_provider

    already = get_tracer_provider()
    if isinstance(already, TracerProvider):  # as with opentelemetry-instrument
        return already
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # not each of its attempts
    ours: dict[str, Any] = {
        "service.name": service,
        "service.version": __version__,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    set_tracer_provider(provider)
    return provider
