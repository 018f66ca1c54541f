"""What is a seed, and what is not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producer.contract import MAX_JOB_SEEDS, MAX_SEED
from producer.errors import InvalidSeed
from producer.seeds import check_seed, check_seeds, pack, parse_seeds, unpack

SEEDS = st.integers(0, MAX_SEED)


@pytest.mark.parametrize("value", [0, 1, 42, MAX_SEED, np.int64(7), np.uint32(MAX_SEED)])
def test_whole_numbers_in_range_are_seeds(value: Any) -> None:
    seed = check_seed(value)
    assert type(seed) is int
    assert seed == int(value)


@pytest.mark.parametrize(
    "value", [-1, MAX_SEED + 1, 2**64, True, False, 1.0, math.nan, math.inf, "7", b"7", None, [7], (), object(), int]
)
def test_what_is_no_seed_is_refused_by_its_value(value: Any) -> None:
    with pytest.raises(InvalidSeed) as caught:
        check_seed(value)
    assert str(value) in str(caught.value) or repr(value) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_single_seed_is_a_job_of_one() -> None:
    assert check_seeds(7) == (7,)


def test_order_and_repetitions_of_a_list_are_kept() -> None:
    assert check_seeds([9, 7, 9]) == (9, 7, 9)


def test_arrays_and_generators_are_lists_too() -> None:
    assert check_seeds(np.array([3, 1])) == (3, 1)
    assert check_seeds(n for n in (3, 1)) == (3, 1)


def test_a_range_stays_a_range() -> None:
    assert check_seeds(range(MAX_JOB_SEEDS)) == range(MAX_JOB_SEEDS)
    assert check_seeds(range(5, 50, 5)) == range(5, 50, 5)


@pytest.mark.parametrize(
    ("seeds", "word"),
    [
        ([], "empty"),
        (range(0), "empty"),
        (range(9, 3), "backwards"),
        (range(9, 3, -1), "backwards"),
        (range(-2, 3), "-2"),
        (range(MAX_SEED - 1, MAX_SEED + 2), str(MAX_SEED + 1)),
        (range(MAX_JOB_SEEDS + 1), str(MAX_JOB_SEEDS)),
        ([1, 2, "x"], "'x'"),
        ([1, math.nan], "nan"),
        ([1, True], "True"),
        ("0..99", "'0..99'"),
        ({7: 1}, "{7: 1}"),
        (None, "None"),
        (np.array([1.5]), "1.5"),
        (np.array(True), "True"),
    ],
)
def test_what_is_no_job_is_refused_by_its_value(seeds: Any, word: str) -> None:
    with pytest.raises(InvalidSeed) as caught:
        check_seeds(seeds)
    assert word in str(caught.value)


def test_a_number_too_long_to_be_written_is_refused_in_words() -> None:
    huge = 10**5000
    for seeds in (huge, -huge, [huge], range(huge), range(-huge, 0), range(huge, 0)):
        with pytest.raises(InvalidSeed):
            check_seeds(seeds)
    with pytest.raises(InvalidSeed, match="16610 bits"):
        check_seed(huge)


def test_an_endless_iterable_is_refused_and_not_read_for_ever() -> None:
    def forever() -> Iterator[int]:
        while True:
            yield 1

    with pytest.raises(InvalidSeed, match=str(MAX_JOB_SEEDS)):
        check_seeds(forever())


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["42"], [42]),
        (["7", "8", "9"], [7, 8, 9]),
        (["0..3"], [0, 1, 2, 3]),
        (["5..5"], [5]),
        (["42 7,4294967295"], [42, 7, MAX_SEED]),
        (["9", "0..2"], [9, 0, 1, 2]),
    ],
)
def test_text_is_read_with_both_ends_of_a_range(words: list[str], seeds: list[int]) -> None:
    assert list(parse_seeds(words)) == seeds


@pytest.mark.parametrize(
    "word", ["x", "1.5", "-1", "5..2", "1..", "..5", "0x10", "4294967296", "0..4294967296", "9" * 5000, "٣", "1_000"]
)
def test_text_that_is_no_seed_is_refused_in_a_line_of_bearable_length(word: str) -> None:
    with pytest.raises(InvalidSeed) as caught:
        parse_seeds([word])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("words", [[], [""], [" , "], ["0..999999", "5"], ["0..1000000"]])
def test_text_without_seeds_or_with_too_many_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidSeed):
        parse_seeds(words)


@given(st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.binary(), st.lists(st.floats(), min_size=1)))
def test_nothing_but_integers_ever_passes(value: Any) -> None:
    with pytest.raises(InvalidSeed):
        check_seeds(value)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_clearly(text: str) -> None:
    try:
        seeds = parse_seeds([text])
    except InvalidSeed:
        return
    assert all(0 <= seed <= MAX_SEED for seed in (seeds[0], seeds[-1]))


LISTS = st.lists(SEEDS, min_size=1, max_size=100).map(tuple)
SPANS = st.builds(
    lambda first, step, number: range(first, min(first + step * number, MAX_SEED + 1), step),
    SEEDS,
    st.integers(1, MAX_SEED) | st.integers(1, 9),
    st.integers(1, 100),
)


@given(LISTS | SPANS)
@example(range(5))
@example((4294967295, 0, 7, 7))
@example((0, MAX_SEED))
@example(tuple(range(1000, 0, -1)))
def test_packed_seeds_are_unpacked_as_they_were(seeds: Sequence[int]) -> None:
    assert list(unpack(pack(seeds))) == list(seeds)


@given(SPANS)
def test_a_list_that_is_a_range_packs_as_the_range(span: range) -> None:
    assert pack(tuple(span)) == pack(span)
    assert len(pack(span)) <= 40


@given(LISTS, st.data())
def test_any_part_of_packed_seeds_can_be_read_without_the_rest(seeds: tuple[int, ...], data: st.DataObject) -> None:
    text = pack(seeds)
    start = data.draw(st.integers(0, len(seeds) - 1))
    if ".." not in text:
        assert int(text[8 * start : 8 * start + 8], 16) == seeds[start]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        (range(1_000_000), "0..999999"),
        (range(0, 10, 3), "0..9..3"),
        ((7,), "7..7"),
        (range(7, 9, 5), "7..7"),
        ((7, 7), "0000000700000007"),
        ((9, 5), "0000000900000005"),
    ],
)
def test_seeds_at_equal_distances_pack_to_a_few_characters(seeds: Sequence[int], text: str) -> None:
    assert pack(seeds) == text
