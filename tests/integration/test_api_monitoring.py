"""What the HTTP API tells Prometheus is what docs/monitoring.md lists and what the alerts ask for."""

from __future__ import annotations

import math
from typing import Any

from producer.api.settings import ApiSettings
from producer.connection import connect
from producer.contract import QUEUES_KEY
from tests import monitoring
from tests.integration.api import api_settings, asking, run
from tests.monitoring import is_of_the_api, parse, queries, types_of, unanswered, value
from worker.local.stack import Endpoints

BACKLOG = "seedmill_api_backlog_seeds"


def metrics_after_a_refusal(endpoints: Endpoints) -> str:
    """Return what an API gives on /metrics that has taken a job, refused another, and was asked for a third."""

    async def main() -> str:
        async with asking(api_settings(endpoints, api_max_queued_seeds=2)) as client:
            taken = await client.post("/v1/jobs", json={"seeds": [1, 2]})
            refused = await client.post("/v1/jobs", json={"seed": 3})
            missing = await client.get("/v1/jobs/nobody")
            assert [answer.status_code for answer in (taken, refused, missing)] == [202, 503, 404]
            return (await client.get("/metrics")).text

    return run(main)


def test_every_metric_of_the_api_is_documented_and_counts(quiet: Endpoints) -> None:
    text = metrics_after_a_refusal(quiet)
    assert monitoring.documented(api=True) == types_of(text)
    samples = parse(text)
    for method, route, status in (("POST", "/v1/jobs", "202"), ("GET", "/v1/jobs/{job_id}", "404")):
        assert value(samples, "seedmill_api_requests_total", method=method, route=route, status=status) == 1
    assert value(samples, "seedmill_api_refused_total", reason="queue-full") == 1
    assert value(samples, BACKLOG, queue="default") == 2


def test_the_backlog_is_told_of_each_queue_and_is_not_a_number_while_redis_is_away(quiet: Endpoints) -> None:
    async def backlog(settings: ApiSettings, *jobs: dict[str, Any]) -> dict[str, float]:
        async with asking(settings) as client:
            for job in jobs:
                assert (await client.post("/v1/jobs", json=job)).status_code == 202
            await client.get("/v1/status")  # looks at what waits
            samples = parse((await client.get("/metrics")).text)
        return {dict(labels)["queue"]: n for (name, labels), n in samples.items() if name == BACKLOG}

    with connect(quiet.redis_url) as redis:
        redis.hset(QUEUES_KEY, "v2", "a-model")
    jobs = {"seeds": [1, 2]}, {"seeds": [3, 4, 5], "queue": "v2"}
    assert run(lambda: backlog(api_settings(quiet), *jobs)) == {"default": 2, "v2": 3}
    away = run(lambda: backlog(api_settings(quiet, redis_url="redis://127.0.0.1:1/0")))
    assert away.keys() == {"default"}
    assert math.isnan(away["default"])


def test_the_alerts_ask_for_what_the_api_gives(quiet: Endpoints) -> None:
    samples = parse(metrics_after_a_refusal(quiet))
    asked = [(name, query) for name, query in queries() if is_of_the_api(query)]
    assert len(asked) >= 3
    assert {name: missing for name, query in asked if (missing := unanswered(query, samples))} == {}
