"""The callers of the API's benchmark, for locust: ``tests/benchmarks/api.py`` starts it with a plan in the environment.

Runs on gevent, so in a process of its own, and imports nothing of ours. Once all callers are there a file is written,
and another with the figures when the time is over.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, constant_pacing, events, task

PLAN: dict[str, Any] = json.loads(os.environ["SEEDMILL_BENCHMARK_CALLERS"])
FOLDER = Path(PLAN["folder"])
HEADERS = {"Authorization": f"Bearer {PLAN['key']}"}
JOBS: Iterator[str] = itertools.cycle(PLAN["jobs"])
FED: deque[str] = deque(PLAN["fed"], maxlen=max(1, len(PLAN["fed"])))
"""The newest of the jobs that pollers who heed look at, which end one after the other."""

BEGUN = 4
"""The so-manieth newest of them has begun, so that it is known when it should end."""

SEEDS = itertools.count(PLAN["first_seed"])
PUBLISHED: Iterator[int] = itertools.cycle(PLAN["published"])
SHARES = (0.5, 0.95, 0.99)


class Caller(FastHttpUser):  # type: ignore[misc]  # no types here
    """Calls with a key; figures go under the name of what was called."""

    abstract = True
    wait_time = constant_pacing(1)

    def get(self, name: str, path: str, **options: Any) -> Any:
        """Read something."""
        return self.client.get(path, name=name, headers=HEADERS, **options)

    def tell(self, name: str, seconds: float) -> None:
        """Have a figure that is no request's kept with those of the requests."""
        self.environment.events.request.fire(
            request_type="", name=name, response_time=seconds * 1000, response_length=0, exception=None
        )

    def submit(self, **order: Any) -> Any:
        """Submit a job; of a seed that is new, if nothing else is said."""
        return self.client.post("/v1/jobs", name="submit", headers=HEADERS, json=order or {"seed": next(SEEDS)})


class Poller(Caller):
    """Asks for one job again and again."""

    fixed_count = PLAN["pollers"]

    def on_start(self) -> None:
        """Choose the job, and a moment of one's own within the second: locust starts many callers at once."""
        time.sleep(random.uniform(0, 1))  # gevent's
        self.path = f"/v1/jobs/{next(JOBS)}"

    @task
    def poll(self) -> None:
        """Ask."""
        self.get("poll", self.path)


class Heeder(Caller):
    """Asks for a job when the last answer said to, or up to a quarter later; once it has ended, for a new one."""

    fixed_count = PLAN["heeders"]
    wait_time = constant(0)

    def on_start(self) -> None:
        """Choose the job, and a moment of one's own."""
        time.sleep(random.uniform(0, 1))  # gevent's
        self.job = random.choice(FED)

    @task
    def poll(self) -> None:
        """Ask, and wait."""
        answer = self.get("poll", f"/v1/jobs/{self.job}")
        told: str | None = (answer.headers or {}).get("Retry-After")
        if told:
            self.tell("Retry-After", float(told))
        elif answer.status_code == 200:
            self.job = FED[-BEGUN]
        time.sleep(float(told or 1) * random.uniform(1, 1.25))


class Feeder(Caller):
    """Submits a job of several seeds now and then, for those who heed to look at."""

    fixed_count = PLAN["feeders"]
    wait_time = constant_pacing(PLAN["feed_every_s"])

    @task
    def feed(self) -> None:
        """Submit."""
        seeds = list(itertools.islice(SEEDS, PLAN["fed_seeds"]))
        answer = self.submit(seeds=seeds, chunk_size=PLAN["chunk_size"])
        if answer.status_code == 202:
            FED.append(answer.json()["id"])


class Submitter(Caller):
    """Submits a seed a second, and waits for nothing."""

    fixed_count = PLAN["submitters"]

    @task
    def run_once(self) -> None:
        """Submit."""
        self.submit()


class Reader(Caller):
    """Reads pages of results, and asks where pictures are."""

    fixed_count = PLAN["readers"]

    @task
    def results(self) -> None:
        """Read a page."""
        self.get("results page", f"/v1/jobs/{next(JOBS)}/results?limit=20")

    @task
    def image(self) -> None:
        """Ask for a picture, and do not follow."""
        path = f"/v1/images/{next(PUBLISHED)}"
        with self.get("image redirect", path, allow_redirects=False, catch_response=True) as response:
            if response.status_code == 307:
                response.success()
            else:
                response.failure(f"status {response.status_code}")


class Waiter(Caller):
    """Submits a seed, and asks for the job with ``wait=30`` until it has ended."""

    fixed_count = PLAN["waiters"]
    wait_time = constant(0)

    @task
    def run_once(self) -> None:
        """Submit and wait."""
        answer = self.submit()
        if answer.status_code != 202:
            time.sleep(1)
            return
        job = answer.json()
        while not job["completed_at"]:
            answer = self.get("wait", f"/v1/jobs/{job['id']}?wait=30")
            if answer.status_code != 200:
                time.sleep(1)
                return
            job = answer.json()
        late_s = time.time() - datetime.fromisoformat(job["completed_at"]).timestamp()
        self.tell("end to answer", late_s)


@events.spawning_complete.add_listener
def ramped(**_: Any) -> None:
    """Tell that all callers are there."""
    (FOLDER / "ramped").touch()


@events.test_stop.add_listener
def stopped(environment: Any, **_: Any) -> None:
    """Write the figures; locust has dropped those from before all callers were there."""
    kinds = {}
    for entry in environment.stats.entries.values():
        waits = {f"p{share * 100:.0f}_ms": entry.get_response_time_percentile(share) for share in SHARES}
        kinds[entry.name] = {"calls": entry.num_requests, "failed": entry.num_failures, **waits}
    errors = [f"{error.name}: {error.error} ({error.occurrences} times)" for error in environment.stats.errors.values()]
    written = FOLDER / "figures.new"
    written.write_text(json.dumps({"kinds": kinds, "errors": errors}), encoding="utf-8")
    written.rename(FOLDER / "figures.json")
