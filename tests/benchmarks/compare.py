"""One model on all systems: what is tried and chosen, measured in rounds, verified, and summed up."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from tests.benchmarks import systems
from tests.benchmarks.bucket import Bucket, Expected
from tests.benchmarks.devices import ModelSpec
from tests.benchmarks.measure import median, meter, percentile, timed
from tests.benchmarks.systems import loop
from tests.benchmarks.systems.base import Figures, Mode, System, World

FIRST_SEED = 64_000
PAUSES_S = (0.02, 0.05, 0.035, 0.065)
"""Between lone seeds, in turn, so that no timer of a system goes along with them."""

NEARLY = 0.95
"""Part of the best speed that a choice must have to be as good; less is noise."""

LISTS_FROM = 64
"""Seeds below which lists of 32 are not measured: they would be the range."""


@dataclass(frozen=True)
class Size:
    """How much of one model is measured."""

    seeds: int
    lone: int
    rounds: int
    trial: int
    """Seeds with which each choice is tried."""
    warm: int

    @property
    def range(self) -> range:
        """The seeds, the same for all systems."""
        return range(FIRST_SEED, FIRST_SEED + self.seeds)


@dataclass
class Comparison:
    """Measures one model; figures are by system, or by system and the way that seeds are given."""

    world: World
    bucket: Bucket
    spec: ModelSpec
    size: Size
    names: Sequence[str]
    expected: Expected
    say: Callable[[str], None]
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    _loop_choice: list[int] = field(default_factory=list)
    _options: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def run(self) -> Iterator[dict[str, Any]]:
        """Measure all rounds; yields what is published after each of them."""
        for number in range(self.size.rounds):
            self.rounds.append({})
            for name in self.names:
                place = f"{self.spec.name}, round {number + 1} of {self.size.rounds}, {name}"
                self.say(place)
                try:
                    self._loop() if name == loop.NAME else self._system(name)
                except Exception as error:  # one system that fails leaves the others their figures
                    self.void.append(f"{place}: {type(error).__name__}: {error}")
                    self.say(self.void[-1])
            yield {"seeds": self.size.seeds, "systems": summary(self.rounds), "void": self.void}

    def _loop(self) -> None:
        size = self.size
        trial = size.trial or size.warm  # its choices are tried in one process, which costs little
        figures, self._loop_choice = loop.run_loop(
            self.world, self.spec, size.range, trial=trial, lone=size.lone, choice=self._loop_choice
        )
        self.rounds[-1][loop.NAME] = figures

    def _system(self, name: str) -> None:
        kind = systems.find(name)
        if name not in self._options:
            self._options[name] = self._choose(kind)
        options = self._options[name]
        with kind(self.world, self.spec, **options) as system:
            self._warm(system)
            for mode, call in system.modes().items():
                if mode == "lists" and self.size.seeds < LISTS_FROM:
                    continue
                figures = self._measure(system, call, self.size.range)
                figures.choice = ", ".join(f"{key}={value}" for key, value in options.items())
                if mode in ("", "lone"):
                    self._lone(system, figures)
                self.rounds[-1][f"{name} {mode}".strip()] = figures

    def _choose(self, kind: type[System]) -> Mapping[str, Any]:
        """Return the options that are fastest at a small run; the first ones without one."""
        if len(kind.choices) == 1 or not self.size.trial:
            return kind.choices[0]
        speeds = []
        for options in kind.choices:
            with kind(self.world, self.spec, **options) as system:
                self._warm(system)
                (call,) = system.modes().values()
                speeds.append(self._measure(system, call, self.size.range[: self.size.trial]).seeds_per_s)
        return kind.choices[first_near_best(speeds)]

    def _warm(self, system: System) -> None:
        for call in system.modes().values():
            call(self.size.range[: self.size.warm])

    def _measure(self, system: System, call: Mode, seeds: Sequence[int]) -> Figures:
        """Give the seeds to the system, see what each process spends, verify, and clear."""
        self.bucket.clear(system)
        watched = {"worker": system.pids, **{name: [one.pid] for name, one in self.world.stack.servers.items()}}
        before = system.busy_s()
        spent = meter(lambda: call(seeds), watched)
        after = system.busy_s()
        busy = None if before is None or after is None else (after - before) / spent.wall_s
        each: dict[str, Any] = {f"{name}_cpu_ms": value / len(seeds) * 1000 for name, value in spent.cpu_s.items()}
        self.bucket.check(system, seeds, self.expected)
        self.bucket.clear(system)
        each |= {"others_cpu_share": spent.others_share, "device_busy_share": busy}
        return Figures(seeds_per_s=len(seeds) / spent.wall_s, **each)

    def _lone(self, system: System, figures: Figures) -> None:
        """Measure lone seeds, one after the other."""
        waits = {}
        for seed, pause_s in zip(self.size.range[: self.size.lone], itertools.cycle(PAUSES_S), strict=False):
            time.sleep(pause_s)
            waits[seed] = timed(lambda: system.lone(seed)) * 1000  # noqa: B023  # called at once
        figures.lone_p50_ms = median(waits.values())
        figures.lone_p95_ms = percentile(waits.values(), 0.95)
        if system.inside:
            figures.lone_overhead_ms = median(wait - system.inside[seed] for seed, wait in waits.items())
        self.bucket.clear(system)


def first_near_best(speeds: Sequence[float]) -> int:
    """Return the place of the first that is nearly the fastest: those that are quick with a lone seed come first."""
    return next(place for place, speed in enumerate(speeds) if speed >= NEARLY * max(speeds))


def summary(rounds: Sequence[Mapping[str, Figures]]) -> dict[str, dict[str, Any]]:
    """Return the median of each figure over the rounds, with the seeds a second of each round beside it."""
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: _median([one.get(name) for one in rounds]) for name in names}


def _median(rounds: Sequence[Figures | None]) -> dict[str, Any]:
    measured = [figures for figures in rounds if figures]
    whole: dict[str, Any] = {}
    for one in fields(Figures):
        values = [value for figures in measured if (value := getattr(figures, one.name)) is not None]
        if values:
            whole[one.name] = values[0] if one.name == "choice" else round(median(values), 3)
            if one.name == "others_cpu_share":
                whole[one.name] = round(max(values), 3)
    whole["rounds"] = [round(figures.seeds_per_s, 3) if figures else None for figures in rounds]
    return whole
