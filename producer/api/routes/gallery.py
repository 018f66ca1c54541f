"""What is published: newest first or by seed, with a search in the captions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import WithJsonSchema

from producer.api import schemas
from producer.api.access import Read
from producer.api.openapi import CALLED, answers, problems_of
from producer.api.pictures import Wanted
from producer.api.routes.parameters import AFTER, json_answer
from producer.api.services import Parts
from producer.gallery import MODEL_PATTERN, NEWEST_PATTERN, SEED_PATTERN, Order

router = APIRouter(tags=["images"])

MAX_QUERY_CHARACTERS = 200
AfterPictures = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": f"^({NEWEST_PATTERN}|{SEED_PATTERN})$"}),
    Query(description=f"{AFTER} It holds for the `order` of that page."),
]


@router.get(
    "/v1/images",
    operation_id="listImages",
    summary="Page through what is published",
    response_class=Response,
    responses={
        **answers(200, schemas.PicturePage, "Pictures in the order that was asked for."),
        **problems_of(*CALLED, "invalid-setting"),
    },
)
async def list_images(
    caller: Read,
    parts: Parts,
    order: Annotated[Order, Query(description="The newest first, or by seed.")] = Order.NEWEST,
    q: Annotated[
        str | None, Query(max_length=MAX_QUERY_CHARACTERS, description="Words that the caption has, in any case.")
    ] = None,
    model: Annotated[
        str | None, Query(pattern=f"^{MODEL_PATTERN}$", description="Only those of the model of this id.")
    ] = None,
    after: AfterPictures = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most pictures on the page.")] = 100,
) -> Response:
    """Answer with pictures that jobs of yours asked for, an administrator with all.

    With `q` or `model` a page may have fewer than `limit`, even none, although there are more.
    """
    page = await parts.pictures.page(caller, Wanted.read(order, q, model), after, limit)
    data = await parts.documents.pictures(page.pictures, parts.bucket.uri)
    return json_answer({"data": data, "has_more": page.next is not None, "next": page.next, "total": page.total})
