"""The models that all systems serve: the real engine, or a stand-in for a fast device that only sleeps.

The stand-in takes ``call_ms + seed_ms * n`` for n seeds and no CPU meanwhile, as a GPU does, so that what is measured
beside it is the host's work. A lock on a file makes all processes of a system share one such device. Its pictures are
64 of the demo model's, with the seed stamped in. ``python -m tests.benchmarks.devices`` is a seedmill worker with it.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from producer import logs
from tests.torture.stand_in import StandIn
from worker.machine import memory_limit, resident_bytes
from worker.model.engine import Engine
from worker.model.generated import Generated, unheard
from worker.model.latents import draw_latents
from worker.service import ServedModel, Service
from worker.settings import WorkerSettings

VARIABLE = "SEEDMILL_BENCHMARK_MODEL"
BANK = 64
"""Pictures that the stand-in gives in turn."""

CALL_MS, SEED_MS = 8.0, 0.3
"""What a call and each seed in it cost on the stand-in."""

FAST_INFO = dataclasses.replace(
    StandIn.info,
    id="fast-device-0123456789abcdef",
    name="fast-device",
    trained=True,
    latent_dim=1024,
    vocab_size=1266,
    image_size=256,
)


class Loaded(ServedModel, Protocol):
    """A model that draws latents itself where it is given none."""

    def generate(
        self, seeds: Sequence[int], latents: Any = None, free: Callable[[], None] = unheard
    ) -> list[Generated]:
        """Return one result per seed, in order."""
        ...


class FastDevice:
    """The stand-in; ``folder`` has its bank of pictures and the lock that its processes share."""

    device = "cpu"
    info = FAST_INFO

    def __init__(self, folder: Path) -> None:
        self._pictures: NDArray[np.uint8] = np.load(folder / "bank.npy")
        self._captions: list[str] = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
        self._lock = threading.Lock()
        self._shared = folder / "device.lock"

    def facts(self) -> Mapping[str, Any]:
        """Return what the log says."""
        return {"model_id": self.info.id}

    def memory_used(self) -> int:
        """Return how much this process has."""
        return resident_bytes()

    def memory_limit(self) -> int:
        """Return how much it may have."""
        return memory_limit()

    def draw(self, seeds: Sequence[int]) -> Sequence[Any]:
        """Return a latent per seed, as a real model does."""
        return draw_latents(seeds, self.info.latent_dim).unbind()

    def generate(
        self, seeds: Sequence[int], latents: Any = None, free: Callable[[], None] = unheard
    ) -> list[Generated]:
        """Return a picture per seed, after the time that one device would take for them."""
        with self._lock, self._shared.open("a") as file:  # closing it ends the lock
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep((CALL_MS + SEED_MS * len(seeds)) / 1000)
        free()
        return [self._one(seed) for seed in seeds]

    def _one(self, seed: int) -> Generated:
        picture = self._pictures[seed % BANK].copy()
        picture[0, 0:2] = np.frombuffer((seed + 2**40).to_bytes(6, "little"), dtype=np.uint8).reshape(2, 3)
        return Generated(seed, picture, self._captions[seed % BANK])


def write_bank(folder: Path, engine: Engine) -> None:
    """Write the pictures that the stand-in gives."""
    folder.mkdir(parents=True, exist_ok=True)
    made = engine.generate(range(BANK))
    np.save(folder / "bank.npy", np.stack([one.pixels for one in made]))
    (folder / "bank.json").write_text(json.dumps([one.caption for one in made]), encoding="utf-8")


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, the folder of its files, and its device; travels to other processes in a variable."""

    name: str
    folder: str
    device: str = "cpu"

    @property
    def is_stand_in(self) -> bool:
        """Whether it is the one that only sleeps."""
        return self.name == "fast"

    @property
    def files(self) -> tuple[Path, Path]:
        """Checkpoint and tokenizer of a real one."""
        return Path(self.folder, "best.pt"), Path(self.folder, "tokenizer.json")

    def environment(self) -> dict[str, str]:
        """Return the variables that carry it, and those with which seedmill's own worker finds it."""
        checkpoint, tokenizer = map(str, self.files)
        named = {} if self.is_stand_in else {"SEEDMILL_CHECKPOINT": checkpoint, "SEEDMILL_TOKENIZER": tokenizer}
        return {VARIABLE: json.dumps(dataclasses.asdict(self)), "SEEDMILL_DEVICE": self.device, **named}

    def load(self, threads: int | None = None) -> Loaded:
        """Return the model, warm; ``threads`` is how many pictures a CPU decodes side by side, ``None`` one a core."""
        if self.is_stand_in:
            return FastDevice(Path(self.folder))
        engine = Engine(*self.files, device=self.device, threads=threads)
        engine.self_check()
        return engine


def spec_of_environment() -> ModelSpec:
    """Return the model that the environment carries."""
    return ModelSpec(**json.loads(os.environ[VARIABLE]))


def main() -> None:
    """Serve seedmill's queue with the stand-in."""
    settings = WorkerSettings.load()
    logs.configure(settings)
    sys.exit(Service(settings, lambda _: spec_of_environment().load()).run())


if __name__ == "__main__":
    main()
