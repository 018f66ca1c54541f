"""A worker whose model is a stand-in: quick to start, as slow as it is told to be, and bad on chosen seeds.

Everything else is the real thing: ``python -m tests.torture.stand_in`` serves the queue that its environment names.
``SEEDMILL_STAND_IN`` is JSON, see :class:`Plan`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import worker.publish
from producer import logs
from worker.encode import encode_png
from worker.machine import memory_limit, resident_bytes
from worker.model.generated import Generated, ModelInfo
from worker.queue.ledger import Ledger
from worker.queue.transport import QoS
from worker.results import Recorder
from worker.service import Service
from worker.settings import WorkerSettings
from worker.storage import ObjectStore

VARIABLE = "SEEDMILL_STAND_IN"
MODEL_ID = "stand-in-0123456789abcdef"
SIZE = 16

STAGES = ("taken", "decoding", "encoding", "png put", "metadata put", "recorded", "acknowledged")
"""Where a worker can be made to kill itself, in the order of a seed's life."""


@dataclass(frozen=True)
class Plan:
    """How the stand-in behaves; seeds in ``kills`` and the others are bad in the way that the name says."""

    ms_per_seed: float = 1.0
    log: str = ""
    """File that a line is appended to for each seed computed: process id and seed."""
    model_id: str = MODEL_ID
    """What it passes for; pictures of another model than the usual one differ from its."""
    kill_at: str = ""
    """Stage at which the worker kills itself ..."""
    kill_hit: int = 1
    """... when it comes there for the so-manieth time."""
    kills: Sequence[int] = ()
    hangs: Sequence[int] = ()
    exits: Sequence[int] = ()
    exhausts: Sequence[int] = ()
    raises: Sequence[int] = ()

    def environment(self) -> dict[str, str]:
        """Return the variable that carries the plan to a worker."""
        return {VARIABLE: json.dumps(dataclasses.asdict(self))}


def picture(seed: int, model_id: str = MODEL_ID) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the pixels of a seed: noise that depends on nothing but it and the model."""
    salt = [] if model_id == MODEL_ID else list(model_id.encode())
    return np.random.default_rng([seed, *salt] if salt else seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


class StandIn:
    """A model that is none."""

    device = "cpu"
    info = ModelInfo(
        id=MODEL_ID,
        name="stand-in",
        architecture="stand-in/1",
        precision="fp32",
        trained=False,
        weights="",
        checkpoint_sha256="0" * 64,
        tokenizer_sha256="0" * 64,
        latent_dim=1,
        vocab_size=1,
        image_size=SIZE,
        device="cpu",
        parameters=0,
    )

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.info = dataclasses.replace(self.info, id=plan.model_id)

    def facts(self) -> Mapping[str, Any]:
        """Return what the log says."""
        return {"model_id": self.info.id}

    def memory_used(self) -> int:
        """Return how much this process has."""
        return resident_bytes()

    def memory_limit(self) -> int:
        """Return how much it may have."""
        return memory_limit()

    def draw(self, seeds: Sequence[int]) -> list[None]:
        """Return a latent per seed, which this model does without."""
        return [None for _ in seeds]

    def generate(self, seeds: Sequence[int], latents: Sequence[None], free: object) -> list[Generated]:
        """Return a picture per seed, after the time that it takes."""
        return [self._one(seed) for seed in seeds]

    def _one(self, seed: int) -> Generated:
        plan = self._plan
        time.sleep(plan.ms_per_seed / 1000)
        if plan.log:
            with Path(plan.log).open("a", encoding="utf-8") as log:
                log.write(f"{os.getpid()} {seed}\n")
        if seed in plan.kills:
            die()
        if seed in plan.hangs:
            time.sleep(3600)
        if seed in plan.exits:
            sys.exit("a model that leaves")
        if seed in plan.exhausts:
            raise MemoryError("no more")
        if seed in plan.raises:
            raise ValueError("cannot be drawn")
        return Generated(seed, picture(seed, plan.model_id), f"noise number {seed}")


def die() -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(stage: str, hit: int) -> None:
    """Make the worker kill itself when it comes to a stage for the so-manieth time."""
    lock, seen = threading.Lock(), 0

    def reached() -> None:
        nonlocal seen
        with lock:
            seen += 1
            if seen == hit:
                die()

    def after(call: Callable[..., Any], when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            value = call(*args, **kwargs)
            if when(value, *args):
                reached()
            return value

        return wrapper

    def put(kind: str) -> Callable[..., Any]:
        return after(ObjectStore.put, lambda _, __, key, *___: key.endswith(kind))

    hooks: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "taken": (Ledger, "take", after(Ledger.take, lambda taken, *_: bool(taken))),
        "decoding": (StandIn, "_one", after(StandIn._one)),
        "encoding": (worker.publish, "encode_png", after(encode_png)),
        "png put": (ObjectStore, "put", put(".png")),
        "metadata put": (ObjectStore, "put", put(".json")),
        "recorded": (Recorder, "finish", after(Recorder.finish)),
        "acknowledged": (QoS, "ack", after(QoS.ack)),
    }
    owner, name, hooked = hooks[stage]
    setattr(owner, name, hooked)


def main() -> None:
    """Serve."""
    fields: dict[str, Any] = json.loads(os.environ.get(VARIABLE, "{}"))
    plan = Plan(**fields)
    if plan.kill_at:
        arm(plan.kill_at, plan.kill_hit)
    settings = WorkerSettings.load()
    logs.configure(settings)
    sys.exit(Service(settings, lambda _: StandIn(plan)).run())


if __name__ == "__main__":
    main()
