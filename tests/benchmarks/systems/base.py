"""What every system under test is to the benchmark: started, given seeds in one or more ways, and ended.

All use the same Valkey, the same S3 server, the same model and the same client process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from producer.contract import image_key, metadata_key
from tests.benchmarks.devices import ModelSpec
from tests.benchmarks.measure import end_tree, tree
from worker.local.process import Process
from worker.local.stack import Endpoints, Stack

START_S = 120.0
DONE_S = 900.0
"""Seconds that a start and a run may take at most."""


@dataclass(frozen=True)
class World:
    """Where the systems run."""

    stack: Stack
    folder: Path
    cores: int

    @property
    def endpoints(self) -> Endpoints:
        """The servers."""
        return self.stack.endpoints


@dataclass
class Figures:
    """What one way of giving seeds to a system costs; CPU is milliseconds a seed."""

    seeds_per_s: float
    worker_cpu_ms: float
    valkey_cpu_ms: float | None = None
    s3_cpu_ms: float | None = None
    client_cpu_ms: float | None = None
    lone_p50_ms: float | None = None
    lone_p95_ms: float | None = None
    lone_overhead_ms: float | None = None
    """Of a lone seed: median of the time that is neither model nor encoding."""
    others_cpu_share: float | None = None
    """Part of the machine's cores that was taken by what is none of this: above a few hundredths it disturbs."""
    device_busy_share: float | None = None
    """Part of the time that the model was at work, where the system tells that; of several the mean."""
    choice: str = ""
    """What was chosen where there was a choice."""


Mode = Callable[[Sequence[int]], None]


class System(ABC):
    """A running system; a context manager that ends what it has started.

    Args:
        world: where it runs.
        spec: its model.
        options: what was chosen for it, one of :attr:`choices`.
    """

    name: ClassVar[str]
    choices: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Configurations that are tried briefly, quick with a lone seed before slow; the fastest is measured."""

    def __init__(self, world: World, spec: ModelSpec, **options: Any) -> None:
        self.world = world
        self.spec = spec
        self.options = options
        self.processes: list[Process] = []
        self.inside: dict[int, float] = {}
        """Milliseconds of model and encoding of lone seeds, where the system tells them."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Start it; returns when it serves."""

    @abstractmethod
    def modes(self) -> Mapping[str, Mode]:
        """Return the ways of giving it many seeds; each returns when all are done and checks what it is told."""

    @abstractmethod
    def lone(self, seed: int) -> None:
        """Have one seed made, and wait for it."""

    def forget(self) -> None:  # noqa: B027  # most have nothing to forget
        """Forget what was made, beside the bucket, so that the same seeds are made again."""

    def busy_s(self) -> float | None:
        """Return the seconds that its model has been at work, where it tells that."""
        return None

    @property
    def model_id(self) -> str:
        """First part of its object keys."""
        return self.name.replace(" ", "-")

    def keys(self, seed: int) -> tuple[str, str]:
        """Return the keys of picture and metadata."""
        return image_key(self.model_id, seed), metadata_key(self.model_id, seed)

    @property
    def pids(self) -> list[int]:
        """The processes that do the work; their children count as well."""
        return [process.pid for process in self.processes]

    def launch(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a process of the system with the servers and the model in its environment."""
        whole = {
            **self.world.endpoints.environment(),
            **self.spec.environment(),
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        log = self.world.folder / "logs" / f"{name.replace(' ', '-')}.log"
        process = Process(name, argv, log=log, environment=whole)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End its processes, and whatever children outlive them."""
        every = tree(self.pids)
        for process in self.processes:
            process.stop(grace_s=20)
        end_tree([pid for pid in every if pid not in self.pids])
        self.processes.clear()
