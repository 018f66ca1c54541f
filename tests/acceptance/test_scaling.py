"""As many workers as there is work for, as KEDA and the HPA have it in deploy/kubernetes/: none, many, none, one.

The API is a real one, open and asked by the name that KEDA asks for, and so are the workers, but for their model. That
a key which may read and no more is enough, is tried at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from celery import Celery

from producer.contract import LANES, QUEUE, TASK_NAME
from producer.keys import Scope
from tests.integration.api import api_settings, asking, new_key, run
from tests.kubernetes import FOLDER, documents, only
from tests.torture.bench import Bench, wait_until
from tests.torture.cluster import Cluster, value_at
from tests.torture.stand_in import Plan
from worker.local.servers import start_api
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

SCALED = documents(FOLDER / "components/keda/scaled-object.yaml")[0]["spec"]
POD = only(documents(FOLDER / "base/worker.yaml"), "Deployment", "seedmill-worker")["spec"]["template"]["spec"]
LOCATIONS = [trigger["metadata"]["valueLocation"] for trigger in SCALED["triggers"]]
HOST = urlsplit(SCALED["triggers"][0]["metadata"]["url"]).netloc
"""By which KEDA asks."""
AWAY = "redis://127.0.0.1:1/0"
SEEDS_EACH, TARGET, BATCH = 60, 65, 8
PLAN = Plan(ms_per_seed=100.0)


@pytest.fixture
def read(own_bench: Bench) -> Iterator[Callable[[], Any]]:
    """Asks the status of an open API as KEDA does."""
    api = start_api(own_bench.folder, {**own_bench.endpoints.environment(), "SEEDMILL_API_TRUSTED_HOSTS": HOST})
    asked = Request(f"http://127.0.0.1:{api.port}/v1/status", headers={"Host": HOST})

    def ask() -> Any:
        with urlopen(asked, timeout=30) as answer:
            return json.load(answer)

    yield ask
    api.process.stop()


@pytest.fixture
def cluster(own_bench: Bench, read: Callable[[], Any]) -> Iterator[Cluster]:
    before_s = POD["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = POD["terminationGracePeriodSeconds"] - before_s
    start = partial(own_bench.worker, PLAN, wait=False, SEEDMILL_MAX_BATCH=str(BATCH))
    running = Cluster(SCALED, start, read, target=TARGET, grace_s=grace_s, pre_stop_s=0.05)
    yield running
    running.settle()


def tick_until(cluster: Cluster, condition: Callable[[], bool], what: str) -> None:
    """Look again and again until something is so."""

    def looked() -> bool:
        cluster.tick()
        return condition()

    wait_until(looked, what)


def none_many_none(own_bench: Bench, cluster: Cluster, many: int) -> None:
    """A job brings so many workers, which go again while it is worked at, and after it."""
    for _ in range(3):
        cluster.tick()
    assert (cluster.wanted, cluster.values) == (0, [0, 0, 0]), "there is nothing to do"

    job = own_bench.client.submit(range(many * SEEDS_EACH))
    assert sum(own_bench.redis.llen(lane) for lane in LANES) <= 2, "which the length of the lists does not tell"
    tick_until(cluster, lambda: cluster.wanted == many, f"{many} workers, by {TARGET} seeds a worker")
    wait_until(lambda: cluster.ready() == many, "they work")
    tick_until(cluster, lambda: cluster.wanted < many, "the first of them is told to end")
    assert not job.refresh().status.is_terminal, "in the midst of the work"
    tick_until(cluster, lambda: cluster.wanted == 0, "none is left")
    assert job.refresh().status.is_terminal, "and there was nothing left to do"
    cluster.settle()
    own_bench.check(job)
    assert set(cluster.ended.values()) == {0}, "each in order, and none was killed"
    assert set(own_bench.computed_counts().values()) == {1}, "no seed was generated twice"


def test_workers_come_and_go_with_the_work(own_bench: Bench, cluster: Cluster) -> None:
    none_many_none(own_bench, cluster, 2)


@pytest.mark.slow
def test_more_of_them_come_and_go_and_what_one_gives_back_is_done_by_another(
    own_bench: Bench, cluster: Cluster
) -> None:
    none_many_none(own_bench, cluster, 3)
    work_is_given_back_and_done_by_another(own_bench, cluster)


def work_is_given_back_and_done_by_another(own_bench: Bench, cluster: Cluster) -> None:
    """Messages of a Celery app bring a worker back, which is ended while it is at them, with no time to finish."""
    before, first = set(cluster.ended), 10_000
    cluster.start = partial(cluster.start, SEEDMILL_DRAIN_TIMEOUT_S="0.2")  # type: ignore[call-arg]
    url = own_bench.endpoints.redis_url
    with Celery(broker=url, backend=url, set_as_current=False) as app:
        lists = [list(range(first + 30 * n, first + 30 * (n + 1))) for n in range(3)]
        sent = [app.send_task(TASK_NAME, args=[seeds], queue=QUEUE) for seeds in lists]
        tick_until(cluster, lambda: cluster.wanted == 1, "one worker, by messages that no worker has seen yet")
        assert cluster.values == [0, 3, 0]
        wait_until(lambda: any(seed >= first for seed in own_bench.computed_counts()), "it is at work")
        (pod,) = cluster.pods
        cluster.end(pod)
        tick_until(cluster, lambda: cluster.wanted == 0, "another has done the rest, and has gone")
        assert all(answer.ready() for answer in sent)
        cluster.settle()
        assert [answer.get(timeout=10)["succeeded"] for answer in sent] == [30, 30, 30]
    assert any(line["action"] == "drain_over" for line in own_bench.actions(pod)), "it had no time to finish"
    assert {cluster.ended[pid] for pid in cluster.ended.keys() - before} == {0}
    counts = own_bench.computed_counts()
    assert all(counts[seed] >= 1 for seeds in lists for seed in seeds)
    assert sum(counts[seed] - 1 for seeds in lists for seed in seeds) <= 2 * BATCH, "on the device or on their way out"
    assert own_bench.dead_letters() == 0


def test_what_keda_reads_is_a_number_and_without_redis_an_error(quiet: Endpoints, store: ObjectStore) -> None:
    """An error it is that ends no worker; a 0 would."""
    headers = {"Authorization": f"Bearer {new_key(quiet, Scope.READ)}", "Host": HOST}

    async def main() -> None:
        async with asking(api_settings(quiet, api_auth="required")) as api:
            status = (await api.get("/v1/status", headers=headers)).json()
            assert [value_at(status, location) for location in LOCATIONS] == [0, 0, 0]
            assert (await api.get("/v1/status")).status_code == 401
        async with asking(api_settings(quiet, redis_url=AWAY)) as api:
            status = (await api.get("/v1/status")).json()
            assert [value_at(status, location) for location in LOCATIONS] == [None, None, None]

    run(main)
