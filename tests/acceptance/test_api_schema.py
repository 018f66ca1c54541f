"""The API does what /openapi.json says, whatever is sent to it: schemathesis makes requests from it and reads answers.

``SEEDMILL_TEST_CASES`` says how many of each operation; some of them ask for jobs that exist.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode

from producer.api.app import create_app
from producer.api.settings import ApiSettings
from producer.api.webhooks.urls import MAX_URL_CHARACTERS
from producer.gallery import Order
from tests.integration.api import api_settings, pretend_worker, serving
from tests.integration.conftest import Hand
from tests.integration.gallery import Gallery
from worker.local.stack import Endpoints
from worker.storage import ObjectStore

CASES = int(os.environ.get("SEEDMILL_TEST_CASES", "30"))
ENDED = ("done", "canceled")
KNOWN = (*ENDED, "half", "waiting")


@pytest.fixture(scope="module")
def url(module_quiet: Endpoints, store: ObjectStore) -> Iterator[str]:
    """An API that has some jobs and some pictures."""
    hand, gallery = Hand(module_quiet), Gallery(module_quiet.redis_url)
    gallery.publish(range(20), timings={"total_ms": 1.5})
    gallery.redis.close()
    pretend_worker(module_quiet)
    with serving(api_settings(module_quiet)) as url, httpx2.Client(base_url=url) as client:
        for job_id in KNOWN:
            client.put(f"/v1/jobs/{job_id}", json={"seeds": [1, 2, 3]}).raise_for_status()
        hand.finish("done", (1, 2, 3), bad=(2,))
        hand.finish("half", (1, 2, 3), chunks=1)
        client.post("/v1/jobs/canceled/cancel").raise_for_status()
        yield url
    hand.client.close()


schema = schemathesis.openapi.from_dict(create_app(ApiSettings()).openapi())


@schema.parametrize()
@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_schema_has(case: schemathesis.Case[Any], url: str) -> None:
    _avoid_what_no_schema_says(case)
    _ask_for_what_is_there(case)
    case.call_and_validate(base_url=url, timeout=10)


def _avoid_what_no_schema_says(case: schemathesis.Case[Any]) -> None:
    """Wait for nobody, since nobody works here; use no key twice; write 7 and not 7.0; let ranges go upwards,
    webhooks to an address, and pages of pictures go on in the order that they had."""
    if "Prefer" in case.headers:
        case.headers["Prefer"] = "wait=0"
    if case.query.get("wait") in range(61):
        case.query["wait"] = 0
    if re.fullmatch("[!-~]{1,255}", str(case.headers.get("Idempotency-Key", ""))):
        case.headers["Idempotency-Key"] = uuid4().hex
    if case.path == "/v1/images" and case.query.get("order", "newest") in tuple(Order):
        after = str(case.query.get("after", ""))
        case.query |= {"order": Order.SEED if ":" in after else Order.NEWEST} if after else {}
    if isinstance(case.body, dict):
        body: dict[str, Any] = case.body
        body |= {name: _in_digits(body[name]) for name in ("seed", "seeds", "chunk_size") if name in body}
        if isinstance(body.get("webhook"), str) and len(body["webhook"]) <= MAX_URL_CHARACTERS:
            body["webhook"] = "https://example.com/hook"
        if re.fullmatch(r"[0-9]{1,10}\.\.[0-9]{1,10}", str(body.get("range"))):
            body["range"] = "7..9"


def _in_digits(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_digits(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _ask_for_what_is_there(case: schemathesis.Case[Any]) -> None:
    """Make some requests be for jobs that exist; of those that have not ended, no stream would end."""
    given = str(case.path_parameters.get("job_id", ""))
    if case.method != "GET" or not given:
        return
    if case.path.endswith("/events"):
        if re.fullmatch("[A-Za-z0-9_-]{1,200}", given):
            case.path_parameters["job_id"] = ENDED[len(given) % len(ENDED)]
    elif len(given) % 2 and case.meta and case.meta.generation.mode is GenerationMode.POSITIVE:
        case.path_parameters["job_id"] = KNOWN[len(given) // 2 % len(KNOWN)]
