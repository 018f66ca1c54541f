"""The wire contract between producers and workers: names, limits, statuses and keys (what travels is in message.py).

This module is a leaf: it imports the standard library alone and knows nothing of Redis clients, Celery, torch or S3.
Everything that two processes must agree on is here; changing a value here is a release, not a setting.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeGuard

SCHEMA_VERSION = 1
"""Version of the message, of the result and of the metadata object."""

TASK_NAME = "seedmill.generate"
"""Celery task name: one message of this task is one chunk of seeds."""

QUEUE = "seedmill"
"""Celery queue, which is also the name of the Redis list that is taken from first."""

DEFAULT_QUEUE = "default"
"""Name of the queue whose keys are those below; those of others are in producer/queue_keys.py."""

QUEUE_KEY_PREFIX = "seedmill:queue:"
"""Before the name of any other queue and a colon: stands for ``seedmill:`` in the keys of its own."""

QUEUES_KEY = "seedmill:queues"
"""Hash of the queues that workers have served: by name the id of the model, or :data:`MIXED`."""

MIXED = "*"
"""Stands for the model of a queue that workers of several models may serve."""

PRIORITIES = (0, 3, 6, 9)
"""Celery's priorities on Redis, the most urgent first."""

LANES = tuple(f"{QUEUE}\x06\x16{priority}" if priority else QUEUE for priority in PRIORITIES)
"""Redis lists of the queue by urgency, named as kombu names those of Celery's priorities 0, 3, 6 and 9 on Redis."""

WAKE = "wake"
"""Stands in the first lane while only others have messages: idle workers wait on that one list."""

TICKET_PREFIX = "job "
"""Before a job's id: its ticket, which stands in the lane for all chunks of the job that are not sent yet."""

TURN_PREFIX = "turn "
"""Before a tenant: what stands in a lane for all jobs of that tenant, whose tickets are in a list of its own."""

TURNS_KEY_PREFIX = "seedmill:turns:"
"""Before the number of a lane, a colon and a tenant: the list of the tickets of that tenant's jobs in that lane."""

CREDIT_KEY_PREFIX = "seedmill:credit:"
"""Before the number of a lane, a colon and a tenant: the seeds left of its turn there, below 0 if it had more."""

TURN_SEEDS = 32
"""Seeds of a tenant's turn: it may take as many, or one message if that has more, and then waits as many more turns."""

BEHIND_KEYS = tuple(f"seedmill:behind:{priority}" for priority in PRIORITIES)
"""Hashes, one a lane: by the id of each job with a ticket there, how many chunks it stands for beyond the next one.

By what stands in the lane for a tenant, how many tickets its list has beyond the first.
"""

MAX_MESSAGE_BYTES = 1_000_000
"""Longest message that a worker opens."""

MAX_SEED = 2**32 - 1
"""Largest seed; the smallest is 0."""

DEFAULT_CHUNK_SIZE = 32
"""Seeds in one message, unless the submit says otherwise."""

MAX_CHUNK_SIZE = 1024
"""Most seeds that a worker accepts in one message."""

MAX_JOB_SEEDS = 1_000_000
"""Most seeds in one job."""

MAX_JOB_CHUNKS = 50_000
"""Most messages in one job: Redis keeps a fact and a result of each until the job expires."""

MAX_ID_CHARACTERS = 200
"""Longest task or job id that a worker accepts."""

CELERY_RESULT_PREFIX = "celery-task-meta-"
"""Celery's own Redis result key is this and the task id; an update is also published on a channel of that name."""

JOB_KEY_PREFIX = "seedmill:job:"
CHUNKS_KEY_PREFIX = "seedmill:chunks:"
SEEDS_KEY_PREFIX = "seedmill:seeds:"
ACTIVE_KEY = "seedmill:active"
"""Sorted set of the jobs that have not ended: member = job id, score = Redis time of creation in milliseconds."""

JOBS_KEY = "seedmill:jobs"
"""Sorted set of all jobs that have a record: score = Redis time of creation in milliseconds."""

TRIM_KEY = "seedmill:jobs-trim"
"""Hash of the place in each set of jobs at which those are looked for next whose record has gone."""

TENANT_JOBS_KEY_PREFIX = "seedmill:jobs:"
"""Before a tenant: the same of its jobs alone."""

BACKLOG_KEY = "seedmill:backlog"
"""Hash of what has not ended, ``seeds`` and ``bytes``, and of the seeds that have, ``ended``."""

BACKLOG_QUEUES_KEY = "seedmill:backlog:queues"
"""Hash of the seeds of each queue but the default one that have not ended."""

BACKLOG_SEEDS_KEY = "seedmill:backlog:seeds"
BACKLOG_ENDED_KEY = "seedmill:backlog:ended"
"""Hashes of the seeds of each tenant that have not ended, and of those that have."""

EVENTS_KEY_PREFIX = "seedmill:events:"
"""Before a job's id: the list of its changes as ``chunk:status``, one that has ended and its new status, or either."""

CHANGES_CHANNEL = "seedmill:changes"
"""Channel on which the id of every job is published that changes."""

MODEL_KEY = "seedmill:model"
"""String: id of the model of the worker that was seen last, for pictures that are asked for while none lives."""

IDEMPOTENCY_KEY_PREFIX = "seedmill:idempotency:"
"""Before a tenant, a colon and the hash of an Idempotency-Key: hash of the request that was sent with it."""

WEBHOOKS_KEY = "seedmill:webhooks"
"""Sorted set of ended jobs whose webhook is to be told: score = Redis time in milliseconds from which it is due."""

WEBHOOK_DEAD_KEY = "seedmill:webhook-dead"
"""Hash of webhooks that were given up, as JSON, by the id of the event."""

WEBHOOK_DEAD_INDEX_KEY = "seedmill:webhook-dead-index"
"""Sorted set of the ids of webhooks that were given up: score = Redis time in milliseconds."""

WEBHOOK_SECRET_KEY = "seedmill:webhook-secret"  # noqa: S105  # the name of a key
"""String from which the secrets of webhooks are derived where no setting says another."""

WORKERS_KEY = "seedmill:workers"
"""Sorted set of workers: member = worker id, score = Redis time in milliseconds until which it counts as alive."""

WORKER_FACTS_KEY = "seedmill:worker-facts"
"""Hash of what each worker says of itself, as JSON."""

SWEPT_KEY = "seedmill:swept"
"""There as long as a look for workers that are gone is recent."""

HELD_KEY_PREFIX = "seedmill:held:"
"""Before a worker's id: the hash of the messages that it has taken, by delivery tag; a digit says from which lane."""

MANIFESTS_KEY = "seedmill:manifests"
"""Sorted set of ended jobs whose manifest is to be written: score = Redis time in milliseconds from which it is due."""

DEAD_KEY = "seedmill:dead"
"""Hash of dead letters as JSON, by id."""

DEAD_INDEX_KEY = "seedmill:dead-index"
"""Sorted set of the ids of dead letters: score = Redis time in milliseconds."""

KNOWN_KEY_PREFIX = "seedmill:known:"
"""Before a model id and a block number: the set of those seeds of the block, less its first, that are published."""

KNOWN_BLOCK = 512
"""Seeds in a block: as many small numbers as Redis keeps in two bytes each."""

PICTURES_KEY = "seedmill:pictures"
"""Hash of the pictures in the gallery: by ``<model id>:<seed>`` the caption, a newline, and the timings as JSON."""

GALLERY_KEY = "seedmill:gallery"
"""Sorted set of them: member = ``<model id>:<seed>``, score = Redis time of publication in microseconds.

No two scores are equal, and whoever is published later has the larger one, so that a score is a place to go on from.
"""

GALLERY_KEY_PREFIX = "seedmill:gallery:"
"""Before a tenant: the same of what its jobs asked for, with the times at which they got it."""

DEFAULT_GALLERY_SIZE = 50_000
"""Pictures in the gallery, unless a worker's setting says otherwise; the oldest go first."""

MAX_TENANT_PICTURES = 2_000
"""Most of them in that of a tenant."""

TENANT_GALLERY_DAYS = 90
"""Days that a tenant's is kept after the last picture has come to it."""

MAX_DEAD_LETTERS = 10_000
"""Dead letters kept; the oldest go first."""

API_KEYS_KEY = "seedmill:api-keys"
"""Hash of what is kept of each API key, as JSON, by the key's id."""

RATE_KEY_PREFIX = "seedmill:rate:"
"""Before an API key's id: string with the Redis time in microseconds up to which its requests are spent."""

MAX_ATTEMPTS = 3
"""Times that a seed is tried; where workers die of it, the first together with others and the next alone."""

IMAGE_CONTENT_TYPE = "image/png"
METADATA_CONTENT_TYPE = "application/json"
MANIFEST_CONTENT_TYPE = "application/x-ndjson"


class JobStatus(StrEnum):
    """State of a job, as its record in Redis tells it."""

    QUEUED = "queued"
    """The record is written and no worker has started on it."""
    RUNNING = "running"
    """At least one chunk was taken by a worker."""
    SUCCEEDED = "succeeded"
    """Every seed succeeded."""
    FAILED = "failed"
    """Every seed has ended and at least one failed; the others have their results."""
    CANCELED = "canceled"
    """Cancelled before it ended; chunks not yet taken are dropped."""
    EXPIRED = "expired"
    """The result lifetime has passed; what was stored in Redis is gone."""

    @property
    def is_terminal(self) -> bool:
        """Whether the job will not change any more."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED})


class SeedStatus(StrEnum):
    """Fate of one seed within a job."""

    SUCCEEDED = "succeeded"
    """Picture and metadata are published."""
    FAILED = "failed"
    """It ended with an error, which the result names."""


class Priority(StrEnum):
    """How soon a job's messages are taken; every eighth take begins at the other end, so that none starves."""

    INTERACTIVE = "interactive"
    """Before all others; also what a Celery app sends without a priority, or with 0."""
    BULK = "bulk"
    """When nothing else waits; Celery's priority 9 on Redis."""

    @property
    def number(self) -> int:
        """Celery's number for it."""
        return {Priority.INTERACTIVE: 0, Priority.BULK: 9}[self]

    @property
    def lane(self) -> str:
        """The Redis list of its messages."""
        return LANES[self.number // 3]


def is_id(value: object) -> TypeGuard[str]:
    """Whether this can be the id of a job or a task: a text of 1 to :data:`MAX_ID_CHARACTERS` characters."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARACTERS


def job_key(job_id: str) -> str:
    """Redis hash that holds the record of a job."""
    return JOB_KEY_PREFIX + job_id


def facts_key(job_id: str) -> str:
    """Redis hash with one fact per chunk (``running``, ``done``, ``dropped``), so that no chunk is counted twice."""
    return CHUNKS_KEY_PREFIX + job_id


def events_key(job_id: str) -> str:
    """Redis list of the changes of a job."""
    return EVENTS_KEY_PREFIX + job_id


def seeds_key(job_id: str) -> str:
    """Redis string with the seeds of a job that has not ended (producer/seeds.py: pack)."""
    return SEEDS_KEY_PREFIX + job_id


def ticket(job_id: str) -> str:
    """Return what stands in a lane for the chunks of a job that are not sent yet."""
    return TICKET_PREFIX + job_id


def turn(tenant: str) -> str:
    """Return what stands in a lane for all jobs of a tenant."""
    return TURN_PREFIX + tenant


def held_key(worker_id: str) -> str:
    """Redis hash of the messages that a worker has taken."""
    return HELD_KEY_PREFIX + worker_id


def known_prefix(model_id: str) -> str:
    """Before the number of a block: Redis set of the seeds of it that this model has published."""
    return f"{KNOWN_KEY_PREFIX}{model_id}:"


def picture_name(model_id: str, seed: int) -> str:
    """Return what stands in the gallery for a picture."""
    return f"{model_id}:{seed}"


def result_key(task_id: str) -> str:
    """Redis string where Celery, and so any Celery app, looks for the result of a task."""
    return CELERY_RESULT_PREFIX + task_id


def chunk_task_id(job_id: str, chunk: int, chunks: int) -> str:
    """Celery task id of a chunk: the job's own id when the job is one message, else ``<job>.<chunk>``."""
    return job_id if chunks == 1 else f"{job_id}.{chunk}"


def image_name(seed: int) -> str:
    """File name of a picture; ten digits keep listings in seed order."""
    return f"seed_{seed:010d}.png"


def image_key(model_id: str, seed: int) -> str:
    """Object key of a picture, below the bucket's prefix."""
    return f"{model_id}/{image_name(seed)}"


def metadata_key(model_id: str, seed: int) -> str:
    """Object key of the metadata JSON, written last: while it is absent the seed is not published."""
    return f"{model_id}/seed_{seed:010d}.json"


def manifest_key(job_id: str) -> str:
    """Object key of a job's manifest: one line of JSON per seed; of jobs of more than one seed."""
    return f"jobs/{job_id}/manifest.jsonl"
