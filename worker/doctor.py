"""The set-up check: each part of a worker is tried for real, and what fails says what to do.

Checks are independent: one that fails does not hide the next. Parts that are not configured are skipped.
"""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

import torch

from producer.client import Client
from producer.connection import connect, translated
from producer.errors import SeedmillError
from producer.redaction import redact
from worker.access import check_access, check_whole
from worker.errors import BucketMissing
from worker.loading import load_engine
from worker.model.engine import Engine, resolve_device
from worker.model.exact import prepare_cuda
from worker.settings import WorkerSettings
from worker.storage import ObjectStore

PACKAGES = ("torch", "celery", "kombu", "redis", "boto3", "pillow", "tokenizers", "numpy")
TRIAL_SEED = 42
TRIAL_OBJECT, TRIAL_DATA = "doctor/probe", b"written by python -m worker doctor\n"
"""What is written into the bucket, the same each time; it stays, since a worker needs no right to delete."""
S3_VARIABLES = "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL or SEEDMILL_S3_BUCKET"
LOAD_VARIABLES = "load the stack's variables, with make up: . .seedmill/up/env"


class Outcome(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  # not a password
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report; ``advice`` says what to do about a warning or a failure."""

    name: str
    outcome: Outcome
    detail: str
    advice: str = ""


def examine(settings: WorkerSettings) -> Iterator[Check]:
    """Yield the outcome of each check, in order."""
    yield _python()
    yield from _packages()
    yield _attempt("device", lambda: _device(settings))
    yield from _model(settings)
    queue, bucket = redact(settings.redis_url), settings.s3_place
    yield _where_configured("SEEDMILL_REDIS_URL", "queue", queue, lambda: _queue(settings))
    yield _where_configured("SEEDMILL_REDIS_URL", "workers", queue, lambda: _workers(settings), advice="")
    yield _where_configured(S3_VARIABLES, "storage", bucket, lambda: _storage(settings))


def _attempt(name: str, trial: Callable[[], Check]) -> Check:
    try:
        return trial()
    except SeedmillError as error:
        return Check(name, Outcome.FAIL, str(error))


def _where_configured(
    variables: str, name: str, otherwise: str, trial: Callable[[], Check], advice: str = LOAD_VARIABLES
) -> Check:
    if not any(os.environ.get(variable) for variable in variables.split(" or ")):
        return Check(name, Outcome.SKIP, f"not configured ({variables}); a worker would use {otherwise}", advice)
    return _attempt(name, trial)


def _python() -> Check:
    found = f"Python {platform.python_version()} on {platform.platform()}"
    return Check("python", Outcome.PASS, found)


def _packages() -> Iterator[Check]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check(
            "packages", Outcome.FAIL, f"missing: {', '.join(missing)}", "pip install -r requirements/worker.txt"
        )
    yield Check("packages", Outcome.PASS, ", ".join(found))


def _device(settings: WorkerSettings) -> Check:
    device = resolve_device(settings.device)
    if device.type == "cuda":
        prepare_cuda()  # asking for its name is a use of it
        return Check("device", Outcome.PASS, f"{device}: {torch.cuda.get_device_name(device)}")
    return Check("device", Outcome.PASS, f"cpu, {os.cpu_count()} cores; no GPU in use")


def _model(settings: WorkerSettings) -> Iterator[Check]:
    try:
        engine = load_engine(settings)
    except SeedmillError as error:
        yield Check("model", Outcome.FAIL, str(error))
        yield Check("generation", Outcome.SKIP, "there is no model")
        return
    info = engine.info
    detail = f"{info.id}, {info.parameters / 1e6:.1f} million parameters, SHA-256 {info.checkpoint_sha256[:16]}"
    if info.trained:
        yield Check("model", Outcome.PASS, detail)
    else:
        yield Check(
            "model", Outcome.WARN, f"{detail}, untrained", "put a trained best.pt and its tokenizer.json in place"
        )
    yield _attempt("generation", lambda: _generation(engine))


def _generation(engine: Engine) -> Check:
    engine.self_check()
    started = time.perf_counter()
    (generated,) = engine.generate([TRIAL_SEED])
    spent = (time.perf_counter() - started) * 1000
    height, width, _ = generated.pixels.shape
    return Check(
        "generation", Outcome.PASS, f"seed {TRIAL_SEED}: {width}x{height} in {spent:.0f} ms: {generated.caption}"
    )


def _queue(settings: WorkerSettings) -> Check:
    client = connect(settings.redis_url)
    key = f"seedmill:doctor:{secrets.token_hex(8)}"
    with translated(settings.redis_url):
        started = time.perf_counter()
        client.set(key, key, ex=60)
        echoed = client.getdel(key)
        spent = (time.perf_counter() - started) * 1000
        server, memory = client.info("server"), client.info("memory")
        durable = client.info("persistence").get("aof_enabled") == 1
        check_whole(client)
        client.close()
    check_access(settings.redis_url, settings.redis_trusted_hosts)
    name = "Valkey " + server["valkey_version"] if "valkey_version" in server else "Redis " + server["redis_version"]
    detail = f"{redact(settings.redis_url)}: {name}, round trip {spent:.1f} ms"
    if echoed != key:
        return Check("queue", Outcome.FAIL, f"{detail}; it did not give back what was written", "use another server")
    if not durable:
        return Check("queue", Outcome.WARN, f"{detail}, no append-only file", "start it with: --appendonly yes")
    if memory.get("maxmemory_policy") != "noeviction":
        policy = memory.get("maxmemory_policy")
        return Check("queue", Outcome.WARN, f"{detail}, evicts keys ({policy})", "set maxmemory-policy noeviction")
    return Check("queue", Outcome.PASS, detail)


def _workers(settings: WorkerSettings) -> Check:
    with Client(settings.redis_url) as client:
        seen = client.queue()
    detail = f"{len(seen.workers)} seen, {seen.waiting} messages waiting"
    if not seen.workers:
        return Check("workers", Outcome.WARN, detail, "start one: python -m worker run")
    return Check("workers", Outcome.PASS, detail)


def _storage(settings: WorkerSettings) -> Check:
    store = ObjectStore(settings)
    try:
        store.check_bucket()
    except BucketMissing:
        if not settings.s3_create_bucket:
            raise
        advice = "the worker makes it at its start; if another was meant, correct SEEDMILL_S3_BUCKET"
        return Check("storage", Outcome.WARN, f"{store.where} does not exist yet", advice)
    started = time.perf_counter()
    store.put(TRIAL_OBJECT, TRIAL_DATA, "text/plain")
    echoed = store.get(TRIAL_OBJECT)
    spent = (time.perf_counter() - started) * 1000
    if echoed != TRIAL_DATA:
        return Check("storage", Outcome.FAIL, f"{store.where} did not give back what was written", "use another server")
    return Check("storage", Outcome.PASS, f"{store.where}: put and get in {spent:.1f} ms")
