"""Pictures by their seed: where they are, if they are published, and what is known of them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import WithJsonSchema

from producer.api import schemas
from producer.api.access import Read
from producer.api.answers import is_known
from producer.api.openapi import CALLED, Responses, answers, problems_of
from producer.api.routes.parameters import json_answer
from producer.api.schemas import SEED_SCHEMA
from producer.api.services import Parts, Services
from producer.contract import IMAGE_CONTENT_TYPE, image_name
from producer.gallery import MODEL_PATTERN

router = APIRouter(prefix="/v1/images/{seed}", tags=["images"])

FILE_KEPT_S = 3600
"""Seconds that a browser keeps a file without asking again: without ?model= another model's may be meant by then."""

SeedInPath = Annotated[str, WithJsonSchema(SEED_SCHEMA), Path(description="The seed.", examples=[7])]
Model = Annotated[
    str | None,
    Query(
        pattern=f"^{MODEL_PATTERN}$",
        description="The model's id; left out, that of the service's queue.",
    ),
]
ABSENT = problems_of(*CALLED, "invalid-seed", "not-published", "storage-unreachable")
REDIRECT: Responses = {
    **answers(307, None, "It is published; the address can be opened for a while.", "Location"),
    **ABSENT,
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


@router.get(
    "/details",
    operation_id="getImageDetails",
    summary="All that is known of the picture of a seed",
    response_class=Response,
    responses={**answers(200, schemas.ImageDetails, "It is published."), **ABSENT},
)
async def get_image_details(seed: SeedInPath, _: Read, parts: Parts, model: Model = None) -> Response:
    """Tell caption, checksum, size and addresses, and how long its stages took, as far as that is known."""
    found = await parts.published.details(await parts.published.choose(seed, model))
    return json_answer({**found, **parts.documents.urls(found["image_uri"], found["metadata_uri"])})


@router.get(
    "/file",
    operation_id="getImageFile",
    summary="The picture of a seed, as a file",
    response_class=Response,
    responses={
        200: {
            "description": "The PNG itself; its tag is its SHA-256.",
            "content": {IMAGE_CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **answers(304, None, "You have it already.", "ETag"),
        **ABSENT,
        **problems_of("body-too-large"),
    },
)
@router.head("/file", include_in_schema=False)
async def get_image_file(request: Request, seed: SeedInPath, _: Read, parts: Parts, model: Model = None) -> Response:
    """Hand the PNG through, for whoever cannot reach the object store; its bytes are those that the metadata names."""
    asked = await parts.published.choose(seed, model)
    metadata = await parts.published.metadata(asked)
    headers = {
        "ETag": f'"{metadata.image.sha256}"',
        "Cache-Control": f"private, max-age={FILE_KEPT_S}",
        "Content-Disposition": f'attachment; filename="{image_name(asked.seed)}"',
        "X-Content-Type-Options": "nosniff",
    }
    if is_known(request, headers["ETag"]):
        return Response(None, 304, headers)
    if request.method == "HEAD":
        return Response(None, 200, {**headers, "Content-Length": str(metadata.image.bytes)}, IMAGE_CONTENT_TYPE)
    return await parts.files.answer(partial(parts.published.png, asked, metadata), headers, IMAGE_CONTENT_TYPE)


async def _redirect(parts: Services, seed: str, model: str | None, *, metadata: bool) -> Response:
    asked = await parts.published.choose(seed, model)
    await parts.published.check(asked)
    signer = parts.bucket.signer
    assert signer is not None  # noqa: S101  # else the bucket would not have answered
    kept_s = int(parts.settings.s3_url_ttl_s * 0.9)
    headers = {"Cache-Control": f"private, max-age={kept_s}"}
    return RedirectResponse(
        signer.url(parts.bucket.uri(asked.metadata_key if metadata else asked.image_key)), 307, headers
    )
