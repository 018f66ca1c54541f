"""A Deployment of stand-in workers whose number is chosen as KEDA and the HPA choose it, by a ScaledObject.

What the two document is followed: KEDA takes the target to one replica when a trigger is above its activation, and to
none when none was for the cooldown; between, the HPA takes the greatest of ``ceil(value / target)``, leaves alone what
is off by a tenth, and goes down to no less than it wanted within its window. How many may come and go in a minute is
left out. Seconds of the ScaledObject pass ``faster`` than they are.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.torture.bench import Bench
from worker.local.process import Process

TOLERANCE = 0.1

Read = Callable[[], Mapping[str, Any]]


def value_at(answer: Any, location: str) -> float | None:
    """Return the number at a place such as ``a.b``; ``None`` where there is none, which KEDA takes for an error."""
    for name in location.split("."):
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return float(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else None


@dataclass
class Cluster:
    """The Deployment; ``wanted`` replicas of it run, or are started.

    Args:
        spec: of the ScaledObject.
        start: starts a pod.
        read: asks for the answer that its triggers read.
        target: stands in for the ``targetValue`` of all triggers.
        grace_s: between SIGTERM and SIGKILL, as ``terminationGracePeriodSeconds`` less ``preStop``.
        pre_stop_s: before SIGTERM.
        faster: what seconds of the ScaledObject are divided by.
    """

    spec: Mapping[str, Any]
    start: Callable[[], Process]
    read: Read
    target: float
    grace_s: float
    pre_stop_s: float
    faster: float = 600.0
    wanted: int = 0
    values: list[float | None] = field(default_factory=list)
    """What the triggers read last."""
    pods: list[Process] = field(default_factory=list)
    ended: dict[int, int] = field(default_factory=dict)
    """Exit status of each pod that was ended, by its process id."""

    def __post_init__(self) -> None:
        self._choice = random.Random(7)
        self._active_at = -math.inf
        self._recommended: list[tuple[float, int]] = []
        self._endings: list[threading.Thread] = []

    def tick(self) -> None:
        """Look once, and start or end what has to be."""
        time.sleep(0.1)
        answer = self.read()
        triggers = [trigger["metadata"] for trigger in self.spec["triggers"]]
        self.values = [value_at(answer, trigger["valueLocation"]) for trigger in triggers]
        known = [value for value in self.values if value is not None]
        active = any(value > float(triggers[0]["activationTargetValue"]) for value in known)
        now = time.monotonic()
        if active:
            self._active_at = now
            self.scale(max(1, self.wanted))
        elif len(known) == len(triggers) and now - self._active_at > self.spec["cooldownPeriod"] / self.faster:
            self._recommended.clear()
            self.scale(self.spec["minReplicaCount"])
        if self.wanted and len(known) == len(triggers):
            self.scale(self._stabilized(max(map(self._recommendation, known)), now))

    def _recommendation(self, value: float) -> int:
        if abs(1 - value / (self.target * self.wanted)) <= TOLERANCE:
            return self.wanted
        return min(int(self.spec["maxReplicaCount"]), max(1, math.ceil(value / self.target)))

    def _stabilized(self, replicas: int, now: float) -> int:
        """Return the number that the HPA goes to: up at once, down to the most that it wanted within its window."""
        behavior = self.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        window_s = behavior["scaleDown"]["stabilizationWindowSeconds"] / self.faster
        self._recommended.append((now, replicas))
        self._recommended = [(at, wanted) for at, wanted in self._recommended if now - at <= window_s]
        return min(max(self.wanted, replicas), max(wanted for _, wanted in self._recommended))

    def scale(self, replicas: int) -> None:
        """Start pods, or end any, until there are so many."""
        self.wanted = replicas
        while len(self.pods) < replicas:
            self.pods.append(self.start())
        while len(self.pods) > replicas:
            self.end(self._choice.choice(self.pods))

    def end(self, pod: Process) -> None:
        """End a pod as Kubernetes does: preStop, SIGTERM, and SIGKILL after the grace period; another may come."""
        self.pods.remove(pod)

        def ending() -> None:
            time.sleep(self.pre_stop_s)
            self.ended[pod.pid] = pod.stop(grace_s=self.grace_s)

        thread = threading.Thread(target=ending)
        thread.start()
        self._endings.append(thread)

    def ready(self) -> int:
        """Return how many pods take messages."""
        return sum(Bench.is_ready(pod) for pod in self.pods)

    def settle(self) -> None:
        """Return when all that were ended have ended."""
        for thread in self._endings:
            thread.join()
