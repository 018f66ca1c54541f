"""What operators and newcomers ask: does it live, can it work, what is it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from producer import __version__
from producer.api import operator_schemas
from producer.api.access import Caller, Read
from producer.api.body import MAX_METADATA_BYTES
from producer.api.metrics import CONTENT_TYPE
from producer.api.openapi import ALWAYS, CALLED, answers, problems_of
from producer.api.readiness import Part
from producer.api.routes.parameters import json_answer
from producer.api.services import Parts, Services
from producer.api.submit import MAX_WAIT_S
from producer.contract import MAX_CHUNK_SIZE, MAX_JOB_SEEDS, MAX_SEED

router = APIRouter(tags=["operations"])

NONE: list[Part] = []


@router.get(
    "/healthz",
    operation_id="getHealth",
    summary="Whether the process answers",
    response_class=Response,
    responses={**answers(200, operator_schemas.Health, "It does."), **problems_of(*ALWAYS)},
)
async def get_health() -> Response:
    """Answer without asking anybody."""
    return json_answer({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether jobs can be taken and done",
    response_class=Response,
    responses={
        **answers(200, operator_schemas.Readiness, "All parts are there."),
        **answers(503, operator_schemas.Readiness, "A part is missing.", "Retry-After"),
        **problems_of(*ALWAYS),
    },
)
async def get_readiness(
    parts: Parts, exclude: Annotated[list[Part], Query(description="Parts that may be missing.")] = NONE
) -> Response:
    """Ask Redis, the object store if one is configured, and whether a worker lives."""
    checks = await parts.readiness.get()
    ready = all(check["ok"] is not False for name, check in checks.items() if name not in exclude)
    if ready:
        return json_answer({"status": "ok", "checks": checks})
    return json_answer({"status": "unavailable", "checks": checks}, 503, {"Retry-After": "5"})


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Numbers.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems_of(*ALWAYS),
    },
)
async def get_metrics(parts: Parts) -> Response:
    """Answer in Prometheus' text format."""
    return Response(parts.metrics.text(), media_type=CONTENT_TYPE)


@router.get(
    "/v1/info",
    operation_id="getInfo",
    summary="What this service is",
    response_class=Response,
    responses={**answers(200, operator_schemas.Info, "Models, limits, and what is to be had."), **problems_of(*CALLED)},
)
async def get_info(caller: Read, parts: Parts) -> Response:
    """Tell which models live, the form of pictures, and the limits that hold for you."""
    workers = (await parts.workers.status()).workers
    sizes = [worker["image_size"] for worker in workers if "image_size" in worker]
    return json_answer(
        {
            "version": __version__,
            "models": sorted({str(worker["model_id"]) for worker in workers}),
            "workers": len(workers),
            "picture": {"width": sizes[0], "height": sizes[0], "mode": "RGB"} if sizes else None,
            "limits": _limits(parts, caller),
            "scopes": sorted(caller.scopes),
            "auth": parts.settings.requires_key,
            "presigned_urls": parts.bucket.signer is not None,
        }
    )


@router.get(
    "/v1/status",
    operation_id="getStatus",
    summary="The service at a glance",
    response_class=Response,
    responses={**answers(200, operator_schemas.Status, "As far as it can be told."), **problems_of(*CALLED)},
)
async def get_status(caller: Read, parts: Parts) -> Response:
    """Tell which parts answer, what waits and how fast it is done, and what each worker has done."""
    return json_answer(await parts.status.look(is_admin=caller.is_admin))


def _limits(parts: Services, caller: Caller) -> dict[str, int]:
    settings = parts.settings
    bounds = parts.admission.bounds(caller.tenant, caller.share)
    return {
        "max_seed": MAX_SEED,
        "job_seeds": MAX_JOB_SEEDS,
        "chunk_size": MAX_CHUNK_SIZE,
        "body_bytes": settings.api_max_body_bytes,
        "metadata_bytes": MAX_METADATA_BYTES,
        "wait_s": MAX_WAIT_S,
        "queued_seeds": bounds.seeds,
        "queued_bytes": bounds.bytes,
        "share_seeds": bounds.share,
        "requests_per_minute": settings.api_rate_per_minute if caller.rate is None else caller.rate,
    }
