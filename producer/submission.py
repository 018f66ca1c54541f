"""What a caller wants enqueued, checked before anything is sent; producer/records.py has the call that enqueues it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

from producer.contract import MAX_JOB_CHUNKS, Priority
from producer.errors import InvalidJobId, SettingsError
from producer.lua import Call
from producer.queue_keys import is_queue_name
from producer.records import NO_BOUNDS, NO_EXTRAS, Bounds, Extras, count_chunks, create_job
from producer.seeds import Seeds, check_seeds, shorten
from producer.settings import ProducerSettings

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

MAX_METADATA_BYTES = 8 * 1024
"""Longest JSON that a caller keeps with a job."""

WEBHOOK = re.compile(r"https?://[^\s/?#]+[^\s]{0,2000}")


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that can be enqueued."""

    job_id: str
    seeds: Sequence[int]
    priority: Priority
    settings: ProducerSettings
    force: bool
    extras: Extras = NO_EXTRAS
    chosen_priority: Priority | None = None
    """The priority that the caller asked for; ``None`` if it follows from the number of messages."""

    @property
    def queue(self) -> str:
        """The queue that it goes to."""
        return self.settings.queue

    @classmethod
    def check(
        cls,
        seeds: Seeds,
        job_id: str | None,
        settings: ProducerSettings,
        priority: Priority | str | None = None,
        *,
        queue: str | None = None,
        force: bool = False,
        extras: Extras = NO_EXTRAS,
    ) -> Self:
        """Check what a caller gave; the job's id is a UUID 4 if none was given.

        Without a priority, a job of one message is interactive and a longer one bulk; without a queue it goes to that
        of the settings. With ``force`` seeds are computed that are published already.

        Raises:
            InvalidSeed, InvalidJobId, SettingsError: naming the value.
        """
        checked = check_seeds(seeds)
        job_id = str(uuid4()) if job_id is None else job_id
        if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
            raise InvalidJobId(f"{shorten(job_id)} is not a job id: use 1 to 64 letters, digits, '-' and '_'")
        if queue is not None:
            if not is_queue_name(queue):
                raise SettingsError(f"queue={shorten(queue)}: use 1 to 32 lower-case letters, digits and '-'")
            settings = settings.model_copy(update={"queue": queue})
        chunks = count_chunks(checked, settings.chunk_size)
        if chunks > MAX_JOB_CHUNKS:
            raise SettingsError(
                f"chunk_size={settings.chunk_size} makes {chunks} messages of {len(checked)} seeds, more than "
                f"{MAX_JOB_CHUNKS}: raise it (SEEDMILL_CHUNK_SIZE), or submit several jobs"
            )
        if priority is not None and priority not in list(Priority):
            raise SettingsError(f"priority={shorten(priority)}: use {' or '.join(Priority)}")
        chosen = None if priority is None else Priority(priority)
        if not isinstance(force, bool):
            raise SettingsError(f"force={shorten(force)}: use True or False")
        usual = Priority.INTERACTIVE if chunks == 1 else Priority.BULK
        return cls(job_id, checked, chosen or usual, settings, force, extras, chosen)

    def call(self, trace: str, bounds: Bounds = NO_BOUNDS) -> Call:
        """Return the call that enqueues it within these bounds, with the trace context that its record keeps."""
        return create_job(
            self.job_id,
            self.seeds,
            chunk_size=self.settings.chunk_size,
            ttl_s=self.settings.result_ttl_s,
            priority=self.priority,
            queue=self.queue,
            force=self.force,
            trace=trace,
            extras=self.extras,
            bounds=bounds,
        )


def check_extras(metadata: Mapping[str, Any] | None, webhook: str | None) -> Extras:
    """Check what a caller keeps with a job, and who is told of its end; whether that may be told, the API decides.

    Raises:
        SettingsError: naming the value.
    """
    if webhook is not None and not (isinstance(webhook, str) and WEBHOOK.fullmatch(webhook)):
        raise SettingsError(f"webhook={shorten(webhook)} is not a URL: write https://host/path")
    return Extras(metadata="" if metadata is None else _encode(metadata), webhook=webhook or "")


def _encode(metadata: object) -> str:
    if not isinstance(metadata, Mapping):
        raise SettingsError(f"metadata={shorten(metadata)}: give a mapping, as in {{'order': 7}}")
    try:
        text = json.dumps(dict(metadata), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"metadata={shorten(metadata)} cannot be written as JSON: {error}") from error
    if size > MAX_METADATA_BYTES:
        raise SettingsError(f"metadata has {size} bytes as JSON, more than {MAX_METADATA_BYTES}: keep it elsewhere")
    return text
