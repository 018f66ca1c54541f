"""The shapes of requests and answers, as /openapi.json tells them.

Requests are read with these; answers are made elsewhere (producer/api/documents.py), and tests compare the two.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from producer.contract import MAX_CHUNK_SIZE, MAX_JOB_SEEDS, MAX_SEED, JobStatus, Priority, SeedStatus

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]

SEED_SCHEMA = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}
SEEDS_SCHEMA = {"type": "array", "items": SEED_SCHEMA, "minItems": 1, "maxItems": MAX_JOB_SEEDS}
SPAN_SCHEMA = {"type": "string", "pattern": r"^[0-9]{1,10}\.\.[0-9]{1,10}$", "examples": ["0..999"]}


class JobRequest(BaseModel):
    """Seeds to make pictures of; exactly one of ``seed``, ``seeds`` and ``range``."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"oneOf": [{"required": [n]} for n in ("seed", "seeds", "range")]},
    )

    seed: Annotated[Any, WithJsonSchema(SEED_SCHEMA)] = Field(default=None, description="One seed.", examples=[7])
    seeds: Annotated[Any, WithJsonSchema(SEEDS_SCHEMA)] = Field(
        default=None, description="Several seeds; order and repetitions are kept.", examples=[[7, 8, 9]]
    )
    range: Annotated[Any, WithJsonSchema(SPAN_SCHEMA)] = Field(
        default=None, description="All seeds from the first to the last, both included.", examples=["0..999"]
    )
    priority: Literal["interactive", "bulk"] | None = Field(
        default=None, description="How soon it is taken; a job of one message is interactive by default, others bulk."
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Kept with the job and returned with it; at most 8 KiB as JSON."
    )
    webhook: str | None = Field(
        default=None,
        max_length=2048,
        description="Address that is told when the job has ended.",
        examples=["https://example.com/hook"],
    )
    force: bool = Field(default=False, description="Compute also what is published already.")
    chunk_size: int | None = Field(default=None, ge=1, le=MAX_CHUNK_SIZE, description="Seeds in one message.")
    queue: str | None = Field(
        default=None,
        pattern="^[a-z0-9-]{1,32}$",
        description="Whose workers, and so which model, makes them; left out, that of the service.",
    )


class Answer(BaseModel):
    """Base of what is answered: members may be added in later releases."""

    model_config = ConfigDict(extra="allow")


class Counts(Answer):
    """Seeds of a job by state; the last five add up to ``total``."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int


class Reason(Answer):
    """Why something failed."""

    type: str
    message: str


class JobUrls(Answer):
    """Where more is to be had of a job; ``image`` is of a job of one seed alone."""

    self: str
    results: str
    events: str
    cancel: str
    image: str | None = None


class SeedResult(Answer):
    """What became of one seed."""

    seed: Seed
    status: SeedStatus
    caption: str | None
    image_uri: str | None
    metadata_uri: str | None
    sha256: str | None
    width: int | None
    height: int | None
    bytes: int | None
    model_id: str | None
    cached: bool
    timings: dict[str, float]
    error: Reason | None
    image_url: str | None = Field(description="Opens the picture for a while; null if there is none, or no keys.")
    metadata_url: str | None


class Job(Answer):
    """A job at one moment; times are those of the Redis server."""

    id: str
    status: JobStatus
    counts: Counts
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    expires_at: Time
    queue_position: int | None = Field(description="Entries of the queue that are taken before it; null if not queued.")
    seeds_per_s: float | None
    eta_s: float | None
    manifest_uri: str | None
    priority: Priority
    queue: str
    model_id: str | None = Field(
        description="Model of all its results; null before a worker has begun, or if there may be several."
    )
    metadata: dict[str, Any] | None
    webhook: str | None
    seed: Seed | None = Field(description="The seed of a job that has one alone.")
    result: SeedResult | None = Field(
        description="What became of this seed, once the job has ended; null in lists and events."
    )
    urls: JobUrls
    error: Reason | None


class JobPage(Answer):
    """A page of jobs, newest first."""

    data: list[Job]
    has_more: bool
    next: str | None = Field(description="What ``after`` of the next page is.")


class ResultPage(Answer):
    """A page of results, in the order of the seeds."""

    data: list[SeedResult]
    has_more: bool
    next: str | None = Field(description="What ``after`` of the next page is.")


class GalleryPicture(Answer):
    """A picture that is published."""

    seed: Seed
    model_id: str
    caption: str
    published_at: Time
    timings: dict[str, float] = Field(description="Milliseconds by stage of the work on it, as far as that is known.")
    image_url: str | None = Field(description="Opens the picture for a while; null if there are no keys.")
    metadata_url: str | None


class PicturePage(Answer):
    """A page of pictures; ``total`` are all of this gallery, whatever was looked for."""

    data: list[GalleryPicture]
    has_more: bool
    next: str | None = Field(description="What ``after`` of the next page is.")
    total: int


class ImageDetails(GalleryPicture):
    """All that is known of a published picture; ``published_at`` is that of the gallery, or of its metadata object."""

    sha256: str
    bytes: int
    width: int
    height: int
    image_uri: str
    metadata_uri: str


class DeadLetter(Answer):
    """What could not be done, and why."""

    id: str
    at: str
    reason: str
    lane: str
    job_id: str | None
    chunk: int
    attempts: int
    seeds: list[int]
    failures: list[dict[str, Any]]
    raw: str | None
    whole: bool
    queue: str


class DeadLetterPage(Answer):
    """Dead letters, newest first."""

    data: list[DeadLetter]


class WebhookSecret(Answer):
    """What your webhooks are signed with: the first of ``secrets`` signs first, and any of them verifies."""

    secret: str = Field(examples=["whsec_..."])
    secrets: list[str]


class DeadWebhook(Answer):
    """A webhook that could not be delivered."""

    id: str
    job_id: str
    url: str
    event: str
    attempts: int
    last_error: str
    at: str
    tenant: str


class DeadWebhookPage(Answer):
    """Webhooks that could not be delivered, newest first."""

    data: list[DeadWebhook]


class Purged(Answer):
    """How many were forgotten."""

    purged: int


class Reconciliation(Answer):
    """What was looked through, and what was enqueued again."""

    active_jobs: int
    republished: int
    forgotten: int


class Problem(Answer):
    """What went wrong (RFC 9457); ``type`` is stable."""

    type: str = Field(examples=["urn:seedmill:problem:job-not-found"])
    title: str
    status: int
    detail: str
    request_id: str
