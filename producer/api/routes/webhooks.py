"""Webhooks: what they are signed with, and those that could not be delivered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import WithJsonSchema

from producer.api import schemas
from producer.api.access import Admin, Submit
from producer.api.openapi import CALLED, answers, problems_of
from producer.api.problem import ProblemError
from producer.api.routes.parameters import json_answer
from producer.api.services import Parts
from producer.errors import DeadLetterNotFound

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

WebhookId = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1}), Path(description="The webhook's id.")]


@router.get(
    "/secret",
    operation_id="getWebhookSecret",
    summary="See what your webhooks are signed with",
    response_class=Response,
    responses={**answers(200, schemas.WebhookSecret, "The secret."), **problems_of(*CALLED)},
)
async def get_secret(caller: Submit, parts: Parts) -> Response:
    """Tell the secret with which receivers verify signatures (Standard Webhooks); it is your tenant's."""
    secrets = await parts.webhooks.secrets_of(caller.tenant)
    return json_answer({"secret": secrets[0], "secrets": secrets})


@router.get(
    "/dead",
    operation_id="listDeadWebhooks",
    summary="List webhooks that could not be delivered",
    response_class=Response,
    responses={**answers(200, schemas.DeadWebhookPage, "The newest first."), **problems_of(*CALLED)},
)
async def list_dead(
    _: Admin, parts: Parts, limit: Annotated[int, Query(ge=1, le=1000, description="Most webhooks.")] = 100
) -> Response:
    """List those that were tried for a day."""
    return json_answer({"data": [asdict(one) for one in await parts.webhooks.dead(limit)]})


@router.post(
    "/dead/{webhook_id}/replay",
    operation_id="replayWebhook",
    summary="Try a webhook again",
    response_class=Response,
    responses={
        **answers(200, schemas.DeadWebhook, "It is due again."),
        **problems_of(*CALLED, "webhook-not-found", "replay-refused"),
    },
)
async def replay(webhook_id: WebhookId, _: Admin, parts: Parts) -> Response:
    """Make it due again."""
    with _absence_told(webhook_id):
        return json_answer(asdict(await parts.webhooks.replay(webhook_id)))


@router.delete(
    "/dead/{webhook_id}",
    operation_id="deleteDeadWebhook",
    summary="Forget a webhook that could not be delivered",
    response_class=Response,
    responses={**answers(200, schemas.Purged, "It is forgotten."), **problems_of(*CALLED, "webhook-not-found")},
)
async def delete(webhook_id: WebhookId, _: Admin, parts: Parts) -> Response:
    """Forget one; nobody is told of its job any more."""
    with _absence_told(webhook_id):
        purged = await parts.webhooks.purge([webhook_id])
        if not purged:
            raise DeadLetterNotFound(webhook_id)
    return json_answer({"purged": purged})


@contextmanager
def _absence_told(webhook_id: str) -> Iterator[None]:
    """Call what was not found by its name: it is no chunk of a job."""
    try:
        yield
    except DeadLetterNotFound:
        detail = f"no webhook {webhook_id!r} was given up: GET /v1/webhooks/dead lists those that were"
        raise ProblemError("webhook-not-found", detail) from None
