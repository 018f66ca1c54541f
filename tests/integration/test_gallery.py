"""The gallery in a real Valkey: what a chunk's end puts there, what is let go of, and how it is read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from producer.contract import (
    GALLERY_KEY,
    GALLERY_KEY_PREFIX,
    MAX_CHUNK_SIZE,
    MAX_TENANT_PICTURES,
    PICTURES_KEY,
    TENANT_GALLERY_DAYS,
    job_key,
)
from producer.errors import SettingsError
from producer.gallery import (
    PublishedPicture,
    add_pictures,
    encode_facts,
    gallery_key,
    list_pictures,
    parse_pictures,
    read_pictures,
    seed_cursor,
)
from tests.integration.gallery import MODEL, Gallery
from worker.local.stack import Endpoints

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def gallery(quiet: Endpoints) -> Iterator[Gallery]:
    gallery = Gallery(quiet.redis_url)
    yield gallery
    gallery.redis.close()


def test_what_a_chunk_published_is_in_the_gallery_newest_first_with_what_is_told_of_it(gallery: Gallery) -> None:
    gallery.publish((7, 8), timings={"generate_ms": 12.3456, "total_ms": 20.04})
    gallery.publish((3,), caption="a fox,\nred  and\u2028quick \U0001f98a \ud800")
    newest, *others = gallery.page().pictures
    assert [one.seed for one in others] == [8, 7]
    assert newest.caption == "a fox,\nred  and\u2028quick \U0001f98a ?"
    assert newest.timings == {}
    assert (others[0].model_id, others[0].caption) == (MODEL, "caption of 8")
    assert others[0].timings == {"generate_ms": 12.3, "total_ms": 20.0}
    seconds, microseconds = gallery.redis.time()
    assert 0 < seconds * 1_000_000 + microseconds - newest.at_us < 60_000_000


def test_what_is_there_already_keeps_its_time_and_what_was_told_first(gallery: Gallery) -> None:
    gallery.publish((1, 2), timings={"generate_ms": 5.0, "total_ms": 9.0})
    before = gallery.page()
    gallery.publish((1, 2), timings={"total_ms": 1.0})  # made again by force, or answered from what is published
    assert gallery.page() == before
    gallery.publish((2, 3, 1), timings={"total_ms": 1.0})
    assert gallery.page().pictures[1:] == before.pictures
    gallery.publish((1,), model_id="other")
    assert [(one.model_id, one.seed) for one in gallery.page().pictures[:2]] == [("other", 1), (MODEL, 3)]


def test_a_seed_that_a_chunk_has_twice_is_there_once(gallery: Gallery) -> None:
    assert gallery.publish((5, 5, 6)) == 1
    assert gallery.seeds() == [6, 5]


def test_a_chunk_of_a_foreign_or_forgotten_job_is_in_the_gallery_of_all(gallery: Gallery) -> None:
    assert gallery.publish((5,), tenant="gone", forget=True) == 1
    assert (gallery.seeds(), gallery.seeds("gone")) == ([5], [])


def test_scores_grow_within_a_chunk_from_chunk_to_chunk_and_when_the_clock_goes_back(gallery: Gallery) -> None:
    gallery.publish(range(1000))
    ahead = 4_000_000_000_000_000
    gallery.redis.zadd(GALLERY_KEY, {f"{MODEL}:5000": ahead})
    gallery.redis.hset(PICTURES_KEY, f"{MODEL}:5000", encode_facts("", {}))
    gallery.publish((2000, 2001), size=2000, tenant="a")
    gallery.publish((2002,), size=2000, tenant="a")
    scores = [one.at_us for one in gallery.page().pictures]
    assert scores == sorted(set(scores), reverse=True)
    assert scores[:4] == [ahead + 3, ahead + 2, ahead + 1, ahead]
    assert gallery.seeds()[:4] == [2002, 2001, 2000, 5000]
    own = [one.at_us for one in gallery.page("a").pictures]
    assert own == sorted(set(own), reverse=True)
    assert own[0] < ahead


def test_beyond_its_size_the_oldest_go_with_what_was_told_of_them(gallery: Gallery) -> None:
    gallery.publish(range(10), size=12)
    gallery.publish(range(10, 15), size=12)
    assert gallery.seeds() == list(range(14, 2, -1))
    assert gallery.redis.hlen(PICTURES_KEY) == 12
    gallery.publish(range(100, 132), size=4)
    assert gallery.seeds() == [131, 130, 129, 128]
    assert sorted(gallery.redis.hkeys(PICTURES_KEY)) == [f"{MODEL}:{seed}" for seed in range(128, 132)]
    gallery.publish((3,), size=4)
    assert gallery.seeds() == [3, 131, 130, 129], "what has gone may come again"


def test_a_gallery_that_is_to_be_far_smaller_is_made_so_part_by_part(gallery: Gallery) -> None:
    many = 9000
    gallery.redis.zadd(GALLERY_KEY, {f"{MODEL}:{seed}": seed for seed in range(many)})
    gallery.redis.hset(PICTURES_KEY, mapping={f"{MODEL}:{seed}": encode_facts("", {}) for seed in range(many)})
    for seed in range(many, many + 6):
        assert gallery.publish((seed,), size=5) == 1
    assert gallery.seeds() == list(range(many + 5, many, -1))
    assert gallery.redis.hlen(PICTURES_KEY) == 5


def test_with_a_size_of_zero_nothing_is_written(gallery: Gallery) -> None:
    gallery.publish((1, 2), size=0, tenant="a")
    assert not gallery.redis.exists(GALLERY_KEY, PICTURES_KEY, gallery_key("a"))


def test_a_chunk_as_large_as_they_come_is_put_there_whole(gallery: Gallery) -> None:
    seeds = range(2**32 - MAX_CHUNK_SIZE, 2**32)
    assert gallery.publish(seeds, size=2000, tenant="a") == 1
    assert gallery.seeds() == gallery.seeds("a") == list(reversed(seeds))


def test_a_tenant_has_what_its_jobs_asked_for_also_where_another_had_it_made(gallery: Gallery) -> None:
    gallery.publish((1, 2), tenant="a")
    gallery.publish((2, 3), tenant="b")
    gallery.publish((4,))
    gallery.publish((1,), tenant="a")
    assert (gallery.seeds("a"), gallery.seeds("b")) == ([2, 1], [3, 2])
    assert gallery.seeds() == [4, 3, 2, 1]
    assert gallery.page("a").total == 2


def test_that_of_a_tenant_is_bounded_and_ends_when_nothing_has_come_for_long(gallery: Gallery) -> None:
    gallery.publish(range(6), size=4, tenant="a")
    assert gallery.seeds("a") == [5, 4, 3, 2]
    own = gallery_key("a")
    gallery.redis.zadd(own, {f"old:{seed}": seed for seed in range(MAX_TENANT_PICTURES)})
    gallery.redis.pexpire(own, 1000_000)
    gallery.publish((5,), size=20_000, tenant="a")
    assert gallery.redis.pttl(own) < 1000_000, "nothing came"
    gallery.publish((7,), size=20_000, tenant="a")
    assert gallery.redis.zcard(own) == MAX_TENANT_PICTURES
    assert 89 * DAY_MS < gallery.redis.pttl(own) <= TENANT_GALLERY_DAYS * DAY_MS


def test_pages_have_every_picture_once_while_others_come(gallery: Gallery) -> None:
    gallery.publish(range(20))
    first = gallery.page(limit=8)
    gallery.publish(range(20, 30))
    second = gallery.page(after=first.next, limit=12)
    assert [one.seed for one in (*first.pictures, *second.pictures)] == list(range(19, -1, -1))
    assert (second.next, second.total) == (None, 30)
    assert gallery.pages() == list(range(29, -1, -1))


def test_those_of_which_nothing_is_told_any_more_are_passed_over_and_leave(gallery: Gallery) -> None:
    gallery.publish(range(10), tenant="a")
    gallery.redis.hdel(PICTURES_KEY, *(f"{MODEL}:{seed}" for seed in (0, 4, 5, 9)))
    assert gallery.pages("a", limit=2) == [8, 7, 6, 3, 2, 1]
    assert gallery.page("a").total == 6
    answer = gallery.run(read_pictures(GALLERY_KEY, [(0, MODEL), (3, MODEL), (99, MODEL), (3, "other")]))
    found, total = parse_pictures(answer)
    assert ([one.seed for one in found], total) == ([3], 9)


def test_the_end_is_not_told_where_thousands_have_gone(gallery: Gallery) -> None:
    gallery.publish((1,))
    gallery.redis.zadd(GALLERY_KEY, {f"gone:{number}": 2**51 + number for number in range(2500)})
    assert gallery.pages(limit=100) == [1]
    assert gallery.page().total == 1


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "1:a", "1" * 17, "\u0663", "7\n", "inf", "1e3", "(1"])
def test_what_is_no_cursor_of_the_newest_is_refused(after: str) -> None:
    with pytest.raises(SettingsError, match="give the 'next' of the page before"):
        list_pictures(GALLERY_KEY, after, 10)


@pytest.mark.parametrize("after", ["", "7", ":a", "7:", "7:a b", "x:a", "-7:a", "7:" + "a" * 201, "7:a\n", "\u0663:a"])
def test_what_is_no_cursor_by_seed_is_refused(after: str) -> None:
    with pytest.raises(SettingsError, match="give the 'next' of the page before"):
        seed_cursor(after)


def test_pictures_of_earlier_times_are_added_with_scores_of_their_own_and_never_twice(gallery: Gallery) -> None:
    gallery.publish((5,))
    (newest,) = gallery.page().pictures
    told = encode_facts("found", {})
    found = [PublishedPicture(MODEL, seed, 1000 + (seed > 2), told) for seed in (1, 2, 3, 5)]
    assert gallery.run(add_pictures(found)) == 3
    assert gallery.run(add_pictures(found)) == 0
    same = PublishedPicture("other", 5, newest.at_us, told)
    assert gallery.run(add_pictures([same])) == 1
    assert gallery.seeds() == [5, 5, 3, 2, 1]
    assert [one.at_us for one in gallery.page().pictures[2:]] == [1002, 1001, 1000]
    assert gallery.pages(limit=1) == [5, 5, 3, 2, 1]


@pytest.mark.parametrize("key", [PICTURES_KEY, GALLERY_KEY, GALLERY_KEY_PREFIX + "mill"])
def test_a_gallery_that_cannot_be_written_keeps_no_chunk_from_being_counted(gallery: Gallery, key: str) -> None:
    gallery.redis.set(key, "of another kind")
    assert gallery.publish((1, 2), tenant="mill") == 1
    record = gallery.redis.hgetall(job_key("job-1"))
    assert (record["status"], record["succeeded"], record["running"]) == ("succeeded", "2", "0")


def test_what_is_none_of_ours_keeps_nobody_from_the_others(gallery: Gallery) -> None:
    gallery.publish((1,))
    for name, facts, score in (("nameless", "x", 5), ("model:2", "no timings", 6), ("model:x", "y\n{}", 7)):
        gallery.redis.zadd(GALLERY_KEY, {name: score})
        gallery.redis.hset(PICTURES_KEY, name, facts)
    found = gallery.page().pictures
    assert [one.seed for one in found] == [1, 2]
    assert found[1].timings == {}


def test_pictures_of_one_second_are_added_in_a_step_each(gallery: Gallery) -> None:
    for model in ("one", "two", "three"):
        came = gallery.run(
            add_pictures(PublishedPicture(model, seed, 5_000_000 + seed, "x\n{}") for seed in range(500))
        )
        assert came == 500
    scores = [score for _, score in gallery.redis.zrange(GALLERY_KEY, 0, -1, withscores=True)]
    assert scores == [5_000_000 + place for place in range(1500)]
    assert encode_facts("c" * 5000, {"total_ms": float("nan")}) == "c" * 2000 + "\n{}"
