"""Parts of the API that need no server: speeds and bounds, preferences, places in a stream, what is remembered."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
import structlog

from producer import records
from producer.api import services
from producer.api.access import ANYBODY, Caller
from producer.api.admission import LONGEST_S, Admission, seconds_until, speed
from producer.api.documents import Documents
from producer.api.events import Place
from producer.api.settings import ApiSettings
from producer.api.submit import preferred_wait
from producer.api.waiting import Waiting
from producer.api.workers import Remembered, newest_model
from producer.contract import SeedStatus
from producer.errors import QueueFull, RateLimited, SettingsError
from producer.message import SeedResult
from producer.records import Backlog, Bounds


def backlog(second: float, ended: int, *, seeds: int = 100, tenant: tuple[int, int] = (0, 0), size: int = 1) -> Backlog:
    return Backlog(int(second * 1000), seeds, size, ended, *tenant)


async def working() -> bool:
    return True


def test_the_speed_is_that_from_the_first_sample_to_the_last() -> None:
    samples = [backlog(0, 5), backlog(1, 100), backlog(10, 45, tenant=(9, 20))]
    assert speed(samples, share=False) == 4
    assert speed(samples, share=True) == 0  # the tenant had nothing there until the end
    assert speed(samples[:1], share=False) == speed([], share=False) == 0


def test_time_in_which_nothing_was_there_to_do_does_not_count() -> None:
    samples = [
        backlog(0, 0, seeds=0),
        backlog(30, 10, seeds=50, tenant=(0, 0)),
        backlog(40, 50, seeds=0, tenant=(0, 0)),
        backlog(60, 60, seeds=9, tenant=(9, 0)),
        backlog(65, 80, seeds=0, tenant=(0, 15)),
    ]
    assert speed(samples, share=False) == 60 / 15
    assert speed(samples, share=True) == 3
    assert speed(samples[:2], share=False) == speed(samples[:4], share=True) == 0


def test_work_that_began_just_now_has_a_speed_and_samples_stay_few() -> None:
    seen = [
        backlog(0, 0, seeds=0),
        backlog(0.5, 0, seeds=6),
        *(backlog(0.6 + n / 100, n, seeds=6 - n) for n in range(1, 6)),
    ]
    left = iter(seen)

    async def read(_: str) -> Backlog:
        return next(left)

    async def main() -> None:
        admission = Admission(ApiSettings(), read, working)
        speeds = []
        for _ in seen:
            await admission.look()
            speeds.append(admission.speed())
        assert speeds == [0, 0, *(pytest.approx(n * 1000 / (100 + 10 * n)) for n in range(1, 6))]
        assert len(admission._samples[""]) == 3

    asyncio.run(main())


def test_the_wait_is_at_least_a_second_and_at_most_an_hour() -> None:
    assert [seconds_until(seeds, 10) for seeds in (-5, 1, 95, 10**9)] == [1, 1, 10, LONGEST_S]
    assert seconds_until(5, 0) == 0


@pytest.mark.parametrize(
    ("answer", "bounds", "wait_s"),
    [
        (records.SEEDS_FULL, Bounds(100, 0, 0), 5),  # 20 seeds too many, 4 a second
        (records.BYTES_FULL, Bounds(0, 500, 0), 18),  # half of 100 seeds, and 20 more
        (records.SHARE_FULL, Bounds(100, 0, 30), 5),  # 10 too many, 2 a second
    ],
)
def test_a_refusal_says_when_there_is_room_at_the_speed_that_was_seen(answer: int, bounds: Bounds, wait_s: int) -> None:
    seen = iter([backlog(0, 0, size=1000, tenant=(20, 0)), backlog(10, 40, size=1000, tenant=(20, 20))])

    async def read(_: str) -> Backlog:
        return next(seen)

    async def main() -> None:
        admission = Admission(ApiSettings(), read, working)
        tenant = "t" if answer == records.SHARE_FULL else ""
        await admission._sample(tenant)
        with pytest.raises(QueueFull) as caught:
            await admission.refuse(answer, "t", 20, bounds)
        assert caught.value.retry_after_s == wait_s
        assert f"in {wait_s} s" in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("lives", "wait_s", "words"), [(True, 15, "is not known yet"), (False, 60, "nothing is being done at present")]
)
def test_a_refusal_without_a_speed_says_whether_a_worker_is_there(lives: bool, wait_s: int, words: str) -> None:
    async def read(_: str) -> Backlog:
        return backlog(0, 0, seeds=100)

    async def asked() -> bool:
        return lives

    async def main() -> None:
        with pytest.raises(QueueFull, match=words) as caught:
            await Admission(ApiSettings(), read, asked).refuse(records.SEEDS_FULL, "", 20, Bounds(100, 0, 0))
        assert caught.value.retry_after_s == wait_s

    asyncio.run(main())


def test_a_share_is_of_the_seeds_and_for_those_who_have_a_key() -> None:
    async def read(_: str) -> Backlog:
        raise AssertionError

    settings = ApiSettings(api_max_queued_seeds=1000, api_max_queued_bytes=7, api_key_share=0.25)
    admission = Admission(settings, read, working)
    assert admission.bounds("", None) == Bounds(1000, 7, 0)
    assert admission.bounds("t", None) == Bounds(1000, 7, 250)
    assert admission.bounds("t", 0.5) == Bounds(1000, 7, 500)
    with pytest.raises(SettingsError, match="251 seeds is never taken, since your share of the queue is 250"):
        admission.check(range(251), admission.bounds("t", None))
    unbound = Admission(ApiSettings(api_max_queued_seeds=0), read, working)
    unbound.check(range(10**6), unbound.bounds("t", None))


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        (None, None),
        ([], None),
        (["respond-async"], None),
        (["wait=7"], 7),
        (["respond-async, Wait = 7"], 7),
        (["respond-async", 'wait="7"; x=1'], 7),
        (["wait=100"], 60),
        (["wait=0"], 0),
        (["wait=-1", "wait=x", "wait"], None),
    ],
)
def test_the_preference_to_wait_is_read_as_the_standard_has_it(prefer: list[str] | None, wait_s: int | None) -> None:
    assert preferred_wait(prefer) == wait_s


@pytest.mark.parametrize(
    ("event_id", "place"),
    [
        ("", Place()),
        ("5", Place(5)),
        ("5.7", Place(4, 8)),
        ("1.0", Place(0, 1)),
    ],
)
def test_the_place_after_an_event_is_told_by_its_id(event_id: str, place: Place) -> None:
    assert Place.parse(event_id) == place


def test_what_many_ask_at_once_is_read_once_and_errors_are_not_kept() -> None:
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        if reads == 1:
            raise SettingsError("first")
        return reads

    async def main() -> None:
        remembered = Remembered(read)
        failed = await asyncio.gather(*(remembered.get() for _ in range(3)), return_exceptions=True)
        assert [str(one) for one in failed] == ["first"] * 3
        assert await asyncio.gather(*(remembered.get() for _ in range(3))) == [2] * 3
        assert await remembered.get() == 2

    asyncio.run(main())


def test_the_model_is_that_of_the_worker_that_was_started_last() -> None:
    workers = [
        {"model_id": name, "started_at": at} for name, at in (("b", "2026-02"), ("c", "2026-03"), ("a", "2026-01"))
    ]
    assert newest_model(workers) == "c"
    assert newest_model([]) is None
    assert newest_model([{"model_id": "of before"}, *workers]) == "c"


def test_a_task_that_fails_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "RESTART_S", 0)
    runs = iter([ValueError("bad"), OSError("away"), None])

    async def run() -> None:
        if error := next(runs):
            raise error

    with structlog.testing.capture_logs() as logged:
        asyncio.run(services._kept_up(run))
    assert next(runs, "none are left") == "none are left"
    assert [(line["action"], line["log_level"]) for line in logged] == [("task_failed", "critical")] * 2


def test_a_url_that_cannot_be_signed_is_null_and_told_in_the_log() -> None:
    class Broken:
        def url(self, s3_uri: str) -> str:
            raise SettingsError("the keys have gone")

    documents = Documents("")
    documents.signer = Broken()
    result = SeedResult(7, SeedStatus.SUCCEEDED, image_uri="s3://bucket/7.png")
    with structlog.testing.capture_logs() as logged:
        (told,) = asyncio.run(documents.results([result]))
    assert (told["image_uri"], told["image_url"]) == ("s3://bucket/7.png", None)
    assert [(line["action"], line["error"]) for line in logged] == [("url_unsigned", "the keys have gone")]


def test_a_quarter_of_the_places_is_one_keys_and_all_of_them_an_open_apis() -> None:
    access: Any = None
    waiting = Waiting(8, access)
    one, other = (Caller("t", frozenset(), "", key_id) for key_id in ("a", "b"))
    with waiting.place(one), waiting.place(one):
        assert not waiting.has_room(one)
        assert waiting.has_room(other)
        with pytest.raises(RateLimited, match="wait for jobs"):
            waiting.check_room(one)
        with ExitStack() as places:
            for _ in range(6):
                assert waiting.has_room(ANYBODY)
                places.enter_context(waiting.place(ANYBODY))
            assert not waiting.has_room(ANYBODY)
            assert not waiting.has_room(other)
    assert waiting.has_room(one)
