"""The worker's own settings, read from the environment: model, device, batches, bucket.

Where Redis and the object store are is shared with the producers (producer/settings.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from producer.contract import DEFAULT_GALLERY_SIZE
from producer.settings import BucketSettings, LogSettings, ProducerSettings
from worker.locations import beside, read_location


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("use auto, cpu, cuda or cuda:0")
    return value


def _hosts(value: str) -> str:
    names = [name.strip().strip("[]").lower() for name in value.split(",") if name.strip()]
    for name in names:
        if not re.fullmatch(r"\*|[\w.-]+|[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*", name):
            raise ValueError(f"{name!r} is no host: write names or addresses alone, between commas, or *")
    return ",".join(names)


def _node_name(value: str) -> str:
    if not re.fullmatch(r"(([\w.-]|%[hnd])+@([\w.-]|%[hnd])+)?", value):
        raise ValueError("use name@host, or name@%h for the name of this host")
    return value


def _model_file(value: str) -> str:
    read_location(value)
    return value


def _beside_the_checkpoint(read: dict[str, Any]) -> str:
    return beside(read.get("checkpoint", "best.pt"), "tokenizer.json")


def _sha256(value: str) -> str:
    if not re.fullmatch("([0-9a-fA-F]{64})?", value):
        raise ValueError("write 64 hexadecimal digits, as sha256sum prints them")
    return value.lower()


class StorageSettings(BucketSettings):
    """The bucket, and how long it is waited for."""

    s3_create_bucket: bool = False
    """Make the bucket at start if it is missing."""

    s3_patience_s: float = Field(default=240.0, ge=0)
    """Seconds that a picture waits for an object store that does not answer, before its chunk is given back."""

    s3_timeout_s: float = Field(default=10.0, gt=0)
    """Seconds to wait for a connection and for each answer of the object store."""


class WorkerSettings(ProducerSettings, StorageSettings, LogSettings):
    """Everything that a worker reads."""

    checkpoint: Annotated[str, AfterValidator(_model_file)] = "checkpoints/best.pt"
    """The model's weights: a path, or an object of the store, as s3://bucket/key, which is fetched once."""

    checkpoint_sha256: Annotated[str, AfterValidator(_sha256)] = ""
    """The SHA-256 that they must have; empty for any of a path, and for what the store says of an object."""

    checkpoint_cache: Path | None = None
    """Folder that objects are kept in; by default seedmill in XDG_CACHE_HOME, which is ~/.cache unless it is set."""

    tokenizer: Annotated[str, AfterValidator(_model_file)] = Field(default_factory=_beside_the_checkpoint)
    """The tokenizer that belongs to them, likewise; by default tokenizer.json beside the checkpoint."""

    tokenizer_sha256: Annotated[str, AfterValidator(_sha256)] = ""
    """The SHA-256 that it must have."""

    architecture: str = ""
    """The class of your own network, as module:Class; empty for the built-in one."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """What the network computes in: fp32, or bf16 for bfloat16, which gives other results and another model id."""

    device: Annotated[str, AfterValidator(_device)] = "auto"
    """Where the model runs: auto, cpu, cuda or cuda:N."""

    cpu_fallback: bool = False
    """Compute on the CPU, under its model id, if at start the GPU's memory does not suffice."""

    cpu_threads: int = Field(default=0, ge=0, le=256)
    """Pictures that a CPU decodes side by side; 0 for one a core. Does not change any result."""

    max_batch: int = Field(default=32, ge=1, le=1024)
    """Most seeds that the model computes in one go."""

    batch_wait_ms: float = Field(default=0.0, ge=0, le=10_000)
    """Milliseconds that a batch that is not full waits for more seeds; 0: what waits starts when the device is free."""

    concurrency: int = Field(default=64, ge=1, le=256)
    """Most messages that the worker holds at a time; it takes no more once it has the seeds of four batches."""

    lease_s: float = Field(default=20.0, ge=5, le=300)
    """Seconds after its last word that a worker counts as dead, if its connection is not seen to close before that."""

    drain_timeout_s: float = Field(default=30.0, ge=0)
    """Seconds that a worker told to stop has to finish what it has taken; the rest is given back."""

    device_timeout_s: float = Field(default=300.0, ge=0)
    """Seconds at one batch after which the device counts as hung: the worker gives its work back and ends; 0: never."""

    node_name: Annotated[str, AfterValidator(_node_name)] = ""
    """Name of the worker in Celery's tools, as name@host or with %h for the host; empty for seedmill-PID@HOST."""

    task_events: bool = False
    """Tell Celery's monitors of every chunk from the start; otherwise as soon as one asks for it, as Flower does."""

    upload_threads: int = Field(default=8, ge=1, le=256)
    """Pictures that are encoded and uploaded side by side."""

    gallery_size: int = Field(default=DEFAULT_GALLERY_SIZE, ge=0, le=1_000_000)
    """Published pictures that the gallery lists, the newest of all workers; 0: none are added to it."""

    mixed_models: bool = False
    """Let workers of several models serve one queue, as of CPU and GPU; a job may then have results of several."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port that Prometheus reads the worker's metrics from; 0 for none."""

    metrics_host: str = "127.0.0.1"
    """Address that this port is on; 0.0.0.0 for all."""

    heartbeat_file: Path | None = None
    """File that the worker writes every second while it works, for python -m worker health."""

    redis_trusted_hosts: Annotated[str, AfterValidator(_hosts)] = ""
    """Hosts whose Redis may be open to anyone, between commas, * for all; one at a loopback address always may."""
