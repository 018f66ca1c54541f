"""Pictures by their seed: where they are, if they are published."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import RedirectResponse
from pydantic import WithJsonSchema

from producer.api.access import Read
from producer.api.openapi import CALLED, Responses, answers, problems_of
from producer.api.problem import ProblemError
from producer.api.schemas import SEED_SCHEMA
from producer.api.services import Parts, Services
from producer.contract import MAX_SEED, image_key, metadata_key
from producer.errors import InvalidSeed
from producer.seeds import shorten

router = APIRouter(prefix="/v1/images/{seed}", tags=["images"])

SEED = re.compile("[0-9]{1,10}")
SeedInPath = Annotated[str, WithJsonSchema(SEED_SCHEMA), Path(description="The seed.", examples=[7])]
Model = Annotated[
    str | None,
    Query(
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$",
        description="The model's id; left out, that of the worker that was started last.",
    ),
]
REDIRECT: Responses = {
    **answers(307, None, "It is published; the address can be opened for a while.", "Location"),
    **problems_of(*CALLED, "invalid-seed", "not-published", "storage-unreachable"),
}


@router.get(
    "",
    operation_id="getImage",
    summary="Open the picture of a seed",
    status_code=307,
    response_class=Response,
    responses=REDIRECT,
)
@router.head("", include_in_schema=False)
async def get_image(seed: SeedInPath, _: Read, parts: Parts, model: Model = None) -> Response:
    """Redirect to a presigned URL of the PNG; if it is not published, say how to enqueue it."""
    return await _redirect(parts, seed, model, metadata=False)


@router.get(
    "/metadata",
    operation_id="getImageMetadata",
    summary="Open the metadata of a seed",
    status_code=307,
    response_class=Response,
    responses=REDIRECT,
)
@router.head("/metadata", include_in_schema=False)
async def get_image_metadata(seed: SeedInPath, _: Read, parts: Parts, model: Model = None) -> Response:
    """Redirect to a presigned URL of the JSON with caption and checksum; if there is none, say how to enqueue it."""
    return await _redirect(parts, seed, model, metadata=True)


async def _redirect(parts: Services, text: str, named: str | None, *, metadata: bool) -> Response:
    seed = _read_seed(text)
    model = named or await parts.workers.model()
    if model is None:
        raise _not_published(seed, "no worker was ever seen here, and no model named")
    if not await parts.bucket.has(metadata_key(model, seed)):
        if named and named not in (worker["model_id"] for worker in (await parts.workers.status()).workers):
            detail = f"model {named} has not published the picture of seed {seed}, and no worker that has it is seen"
            raise ProblemError("not-published", f"{detail}: start one, or leave model out")
        raise _not_published(seed, f"model {model} has not published it")
    key = metadata_key(model, seed) if metadata else image_key(model, seed)
    signer = parts.bucket.signer
    assert signer is not None  # noqa: S101  # else the bucket would not have answered
    kept_s = int(parts.settings.s3_url_ttl_s * 0.9)
    headers = {"Cache-Control": f"private, max-age={kept_s}"}
    return RedirectResponse(signer.url(parts.bucket.uri(key)), 307, headers)


def _read_seed(text: str) -> int:
    if not (SEED.fullmatch(text) and int(text) <= MAX_SEED):
        raise InvalidSeed(f"{shorten(text)} is not a seed: a whole number from 0 to {MAX_SEED}")
    return int(text)


def _not_published(seed: int, why: str) -> ProblemError:
    order = {"method": "POST", "href": "/v1/jobs", "body": {"seed": seed}}
    detail = f'the picture of seed {seed} is not published, since {why}: send POST /v1/jobs with {{"seed": {seed}}}'
    return ProblemError("not-published", detail, enqueue=order)
