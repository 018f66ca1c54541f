"""The whole embedded stack: started in order, described by its endpoints, and ended in reverse order.

All data goes under one folder, which one stack at a time may use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from producer.client import Client
from worker.errors import SetupError
from worker.files import prepare_folder
from worker.local.process import Process
from worker.local.servers import start_api, start_s3, start_valkey
from worker.settings import StorageSettings

ACCESS_KEY = "seedmill-local"
SECRET_KEY = "seedmill-local-secret"  # noqa: S105  # of the embedded stack alone, which listens on 127.0.0.1
BUCKET = "seedmill"
WORKER_TIMEOUT_S = 120.0
WORKER_GRACE_S = 30.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the parts of a stack are."""

    redis_url: str
    s3_url: str
    bucket: str = BUCKET
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def environment(self) -> dict[str, str]:
        """Return the variables with which worker and clients find this stack."""
        return {
            "SEEDMILL_REDIS_URL": self.redis_url,
            "SEEDMILL_S3_BUCKET": self.bucket,
            "SEEDMILL_S3_PREFIX": "",
            "SEEDMILL_S3_CREATE_BUCKET": "true",
            "AWS_ENDPOINT_URL_S3": self.s3_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": "",
            "AWS_REGION": "us-east-1",
            "SEEDMILL_S3_PUBLIC_ENDPOINT_URL": "",  # URLs are opened where the worker writes
        }

    def storage(self) -> StorageSettings:
        """Return the settings with which this process reaches the bucket, whatever its environment says."""
        return StorageSettings.load(
            s3_bucket=self.bucket,
            s3_prefix="",
            s3_create_bucket=True,
            s3_endpoint_url=self.s3_url,
            s3_region="us-east-1",
            s3_access_key_id=self.access_key,
            s3_secret_access_key=self.secret_key,
            s3_session_token="",  # none
        )


class Stack:
    """A running stack; made by :func:`running_stack`."""

    def __init__(self, data: Path, cleanup: ExitStack) -> None:
        self.data = data
        self.logs = data / "logs"
        self._cleanup = cleanup
        self.endpoints: Endpoints
        self.servers: dict[str, Process] = {}
        self.worker_grace_s = WORKER_GRACE_S
        """Seconds that a worker gets to finish what it has taken, when the stack ends."""

    def start_servers(self, *, redis_port: int = 0, s3_port: int = 0, empty_queue: bool = False) -> None:
        """Start Valkey and the S3 server on the given ports, or on free ones.

        With ``empty_queue`` whatever an earlier stack left in the queue is dropped; the bucket is kept.
        """
        if empty_queue:
            shutil.rmtree(self.data / "valkey", ignore_errors=True)
        valkey = start_valkey(self.data / "valkey", self.logs, port=redis_port)
        self._cleanup.callback(valkey.process.stop)
        s3 = start_s3(self.data / "s3", self.logs, access_key=ACCESS_KEY, secret_key=SECRET_KEY, port=s3_port)
        self._cleanup.callback(s3.process.stop)
        self.servers = {"valkey": valkey.process, "s3": s3.process}
        self.endpoints = Endpoints(f"redis://127.0.0.1:{valkey.port}/0", f"http://127.0.0.1:{s3.port}")

    def start_worker(self, environment: Mapping[str, str] | None = None, *, wait: bool = True) -> Process:
        """Start a worker process; with ``wait`` returns when its model is warm and it takes messages."""
        worker = Process(
            "the worker",
            [sys.executable, "-m", "worker", "run"],
            log=self.logs / "worker.log",
            environment={**self.endpoints.environment(), "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self._cleanup.callback(lambda: worker.stop(grace_s=self.worker_grace_s))
        if wait:
            self.wait_for(worker)
        return worker

    def start_api(self, environment: Mapping[str, str] | None = None, *, port: int = 0) -> str:
        """Start the HTTP API on the given port, or on a free one; returns its URL."""
        api = start_api(self.logs, {**self.endpoints.environment(), **(environment or {})}, port=port)
        self._cleanup.callback(api.process.stop)
        self.servers["api"] = api.process
        return f"http://127.0.0.1:{api.port}"

    def wait_for(self, worker: Process) -> None:
        """Block until that worker's heartbeat is seen."""
        with Client(self.endpoints.redis_url) as client:
            worker.wait_ready(
                lambda: any(seen["pid"] == worker.pid for seen in client.queue().workers), timeout_s=WORKER_TIMEOUT_S
            )


@contextmanager
def running_stack(data: Path) -> Iterator[Stack]:
    """Yield a stack over the folder ``data`` with nothing started yet; whatever is started in it ends with it.

    Raises:
        SetupError, FileError: another stack is using the folder, or it cannot be written.
    """
    if data == Path():
        raise SetupError("the stack needs a folder of its own: give --data a name")
    data = data.absolute()
    prepare_folder(data)
    _clear_environment()
    with _locked(data), ExitStack() as cleanup:
        try:
            yield Stack(data, cleanup)
        finally:
            with _signals_ignored():
                cleanup.close()


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that they end a stack as tidily as Ctrl-C does.

    SIGINT becomes KeyboardInterrupt also where a shell started this in the background and had it ignored.
    """

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before: dict[int, Any] = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let nothing cut the cleaning up short: it is bounded in time."""
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _clear_environment() -> None:
    """Keep requests to the stack from a proxy or an AWS profile of the environment, here and in the children."""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1")))
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        os.environ.pop(name, None)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    try:
        file = (data / "lock").open("a+")
    except OSError as error:
        raise SetupError(f"{data / 'lock'} cannot be written ({error.strerror}): choose another --data") from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise SetupError(
                f"{data} is in use by another stack (process {lock.read().strip() or 'unknown'}): "
                "stop it, or choose another folder with --data"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
