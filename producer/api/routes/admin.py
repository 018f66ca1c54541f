"""The queue, dead letters and the reconciler; all but a look at the queue is for administrators."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import WithJsonSchema

from producer import dead
from producer.api import operator_schemas, schemas
from producer.api.access import Admin, Read
from producer.api.openapi import CALLED, answers, problems_of
from producer.api.problem import ProblemError
from producer.api.routes.parameters import json_answer
from producer.api.services import Parts, Services
from producer.api.status import told
from producer.client import Client
from producer.dead import DeadLetter
from producer.reconcile import Reconciliation

router = APIRouter(prefix="/v1", tags=["administration"])

LetterId = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1}), Path(description="The dead letter's id.")]
ALL = {
    "name": "all",
    "in": "query",
    "required": True,
    "description": "Say that all is meant.",
    "schema": {"type": "boolean", "const": True},
}
"""By hand, so that who leaves it out is told why it is asked for."""


@router.get(
    "/queue",
    operation_id="getQueue",
    summary="Look at the queue",
    response_class=Response,
    responses={**answers(200, operator_schemas.Queue, "What waits, and who works."), **problems_of(*CALLED)},
)
async def get_queue(caller: Read, parts: Parts) -> Response:
    """Count what waits and what is held; administrators see where workers run as well."""
    status = await parts.workers.status()
    workers = [told(one, is_admin=caller.is_admin) for one in status.workers]
    return json_answer({**status.to_dict(), "workers": workers})


@router.get(
    "/dead-letters",
    operation_id="listDeadLetters",
    summary="List dead letters",
    response_class=Response,
    responses={**answers(200, schemas.DeadLetterPage, "The newest first."), **problems_of(*CALLED)},
)
async def list_dead_letters(
    _: Admin, parts: Parts, limit: Annotated[int, Query(ge=1, le=10_000, description="Most letters.")] = 100
) -> Response:
    """List what could not be done, and why."""
    letters = dead.parse_dead(await parts.connection.run(dead.list_dead(limit)))
    return json_answer({"data": [_document(letter) for letter in letters]})


@router.get(
    "/dead-letters/{letter_id}",
    operation_id="getDeadLetter",
    summary="Look at a dead letter",
    response_class=Response,
    responses={
        **answers(200, schemas.DeadLetter, "The letter."),
        **problems_of(*CALLED, "dead-letter-not-found"),
    },
)
async def get_dead_letter(letter_id: LetterId, _: Admin, parts: Parts) -> Response:
    """Show one with everything that is known of it."""
    return json_answer(_document(await _letter(parts, letter_id)))


@router.post(
    "/dead-letters/{letter_id}/replay",
    operation_id="replayDeadLetter",
    summary="Send a dead letter to the queue again",
    response_class=Response,
    responses={
        **answers(200, schemas.DeadLetter, "It is in the queue again."),
        **problems_of(*CALLED, "dead-letter-not-found", "replay-refused"),
    },
)
async def replay_dead_letter(letter_id: LetterId, _: Admin, parts: Parts) -> Response:
    """Enqueue it as part of its job, which then runs again."""
    letter = await _letter(parts, letter_id)
    dead.check_replay(letter, await parts.connection.run(dead.replay_dead(letter)))
    return json_answer(_document(letter))


@router.delete(
    "/dead-letters/{letter_id}",
    operation_id="deleteDeadLetter",
    summary="Forget a dead letter",
    response_class=Response,
    responses={
        **answers(200, schemas.Purged, "It is forgotten."),
        **problems_of(*CALLED, "dead-letter-not-found"),
    },
)
async def delete_dead_letter(letter_id: LetterId, _: Admin, parts: Parts) -> Response:
    """Forget one; its job stays as it is."""
    await _letter(parts, letter_id)
    return json_answer({"purged": int(await parts.connection.run(dead.purge_dead([letter_id])))})


@router.delete(
    "/dead-letters",
    operation_id="deleteDeadLetters",
    summary="Forget all dead letters",
    openapi_extra={"parameters": [ALL]},
    response_class=Response,
    responses={**answers(200, schemas.Purged, "How many were forgotten."), **problems_of(*CALLED)},
)
async def delete_dead_letters(
    _: Admin,
    parts: Parts,
    everything: Annotated[bool, Query(alias="all", include_in_schema=False)] = False,
) -> Response:
    """Forget all of them; their jobs stay as they are."""
    if not everything:
        raise ProblemError("invalid-request", "say ?all=true to forget all of them, or name one letter in the path")
    return json_answer({"purged": int(await parts.connection.run(dead.purge_dead(())))})


@router.post(
    "/reconcile",
    operation_id="reconcile",
    summary="Enqueue again what was lost",
    response_class=Response,
    responses={**answers(200, schemas.Reconciliation, "What was found."), **problems_of(*CALLED)},
)
async def reconcile(_: Admin, parts: Parts) -> Response:
    """Look through all jobs that have not ended for chunks that are in no list, as workers do by themselves."""

    def run() -> Reconciliation:
        with Client(parts.settings.redis_url) as client:
            return client.reconcile()

    return json_answer(asdict(await asyncio.to_thread(run)))


async def _letter(parts: Services, letter_id: str) -> DeadLetter:
    return dead.only(dead.parse_dead(await parts.connection.run(dead.list_dead(1, letter_id))), letter_id)


def _document(letter: DeadLetter) -> dict[str, Any]:
    return letter.to_dict()
