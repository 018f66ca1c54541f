"""What the HTTP API tells Prometheus is what docs/monitoring.md lists and what the alerts ask for."""

from __future__ import annotations

from tests import monitoring
from tests.integration.api import api_settings, asking, run
from tests.monitoring import is_of_the_api, parse, queries, types_of, unanswered, value
from worker.local.stack import Endpoints


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
    assert value(samples, "seedmill_api_backlog_seeds", queue="default") == 2


def test_the_alerts_ask_for_what_the_api_gives(quiet: Endpoints) -> None:
    samples = parse(metrics_after_a_refusal(quiet))
    asked = [(name, query) for name, query in queries() if is_of_the_api(query)]
    assert len(asked) >= 3
    assert {name: missing for name, query in asked if (missing := unanswered(query, samples))} == {}
