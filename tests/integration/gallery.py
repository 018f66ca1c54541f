"""A worker's part in the gallery, done by hand, and a look at what has come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from producer import attempts, records
from producer.attempts import Ending
from producer.connection import connect
from producer.contract import MAX_CHUNK_SIZE, Priority, held_key, job_key
from producer.gallery import Page, encode_facts, gallery_key, list_pictures, parse_page
from producer.lua import Call
from producer.records import Extras
from tests.support import messages_of

HELD = held_key("w")
MODEL = "demo-0123456789abcdef"
SIZE = 1000


class Gallery:
    """Ends chunks whose seeds are published, and reads the gallery."""

    def __init__(self, url: str) -> None:
        self.redis: Any = connect(url)
        self.jobs = 0

    def run(self, call: Call) -> Any:
        return self.redis.register_script(call.script)(keys=call.keys, args=call.args)

    def publish(
        self,
        seeds: Sequence[int],
        *,
        size: int = SIZE,
        tenant: str = "",
        model_id: str = MODEL,
        caption: str = "caption of {}",
        timings: dict[str, float] | None = None,
        forget: bool = False,
    ) -> int:
        """End a chunk of a new job whose seeds are published; ``forget`` lets the job's record go before that."""
        self.jobs += 1
        job = f"job-{self.jobs}"
        extras = Extras(tenant)
        call = records.create_job(
            job, seeds, chunk_size=MAX_CHUNK_SIZE, ttl_s=600, priority=Priority.BULK, extras=extras
        )
        assert self.run(call) == 1
        (message,) = messages_of(job, seeds, MAX_CHUNK_SIZE, Priority.BULK)
        self.redis.hset(HELD, job, "0message")
        self.run(attempts.start_chunk(message, held=HELD, tag=job, adopt=False, alone=True, ttl_s=600))
        if forget:
            self.redis.delete(job_key(job))
        told = {seed: encode_facts(caption.format(seed), timings or {}) for seed in seeds}
        ending = Ending(len(seeds), 0, "{}", model_id=model_id, published=told)
        call = attempts.finish_chunk(message, ending, held=HELD, tag=job, ttl_s=600, gallery_size=size)
        return int(self.run(call))

    def page(self, tenant: str | None = None, after: str | None = None, limit: int = 10_000) -> Page:
        return parse_page(self.run(list_pictures(gallery_key(tenant), after, limit)))

    def pages(self, tenant: str | None = None, limit: int = 3) -> list[int]:
        """Return all seeds, read page by page."""
        found: list[int] = []
        after = None
        while True:
            page = self.page(tenant, after, limit)
            found += [one.seed for one in page.pictures]
            after = page.next
            if after is None:
                return found

    def seeds(self, tenant: str | None = None) -> list[int]:
        return [one.seed for one in self.page(tenant).pictures]
