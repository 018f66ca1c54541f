"""What else goes on in the process changes no bit of a result: settings, threads, what a network keeps."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import write_model
from tests.unit.users import User
from worker.errors import ArchitectureError, OutOfDeviceMemory, SetupError
from worker.model.decoders import CANONICAL_SHAPES, CudaDecoder
from worker.model.engine import Engine
from worker.model.exact import SETTINGS, exact_arithmetic
from worker.model.generated import Generated
from worker.model.latents import draw_latents

SEEDS = range(12)


@pytest.fixture(autouse=True)
def settings_of_torch() -> Iterator[None]:
    before = [getattr(place, name) for place, name, _ in SETTINGS]
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_float32_matmul_precision("highest")
    for (place, name, _), value in zip(SETTINGS, before, strict=True):
        setattr(place, name, value)


@pytest.fixture(scope="module")
def engine(demo_model: Path) -> Engine:
    return Engine(demo_model / "best.pt", demo_model / "tokenizer.json", device="cpu")


def same(first: list[Generated], second: list[Generated]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(a.caption == b.caption and np.array_equal(a.pixels, b.pixels) for a, b in pairs)


def switch_off_onednn() -> None:
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]


@pytest.mark.parametrize(
    "disturb",
    [
        lambda: torch.set_float32_matmul_precision("medium"),
        switch_off_onednn,
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_grad_enabled(True),
    ],
)
def test_settings_of_the_caller_change_no_bit_and_are_left_as_they_were(
    engine: Engine, disturb: Callable[[], None], tmp_path: Path
) -> None:
    grid = Engine(*(write_model(tmp_path) / name for name in ("best.pt", "tokenizer.json")), device="cpu")
    wanted = [one.generate(SEEDS) for one in (engine, grid)]
    disturb()
    before = [getattr(place, name) for place, name, _ in SETTINGS]
    assert all(same(one.generate(SEEDS), first) for one, first in zip((engine, grid), wanted, strict=True))
    assert [getattr(place, name) for place, name, _ in SETTINGS] == before


def test_settings_hold_until_the_last_of_several_threads_has_left() -> None:
    torch.set_float32_matmul_precision("medium")
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with exact_arithmetic():
            inside.set()
            leave.wait(5)

    other = threading.Thread(target=stay)
    with exact_arithmetic():
        other.start()
        inside.wait(5)
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"  # type: ignore[attr-defined]
    leave.set()
    other.join()
    assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # type: ignore[attr-defined]


def test_a_default_type_that_would_change_results_is_refused(engine: Engine) -> None:
    torch.set_default_dtype(torch.float64)
    with pytest.raises(SetupError, match=r"default type is torch\.float64.*set_default_dtype"):
        engine.generate([1])


def test_a_process_that_was_forked_off_is_told_so_and_does_not_hang(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(SetupError, match="forked off"):
        engine.generate([1])


CACHED = """

class Cached(Halves):
    def __init__(self, latent_dim, vocab_size, width=24):
        super().__init__(latent_dim, vocab_size, width)
        self.register_buffer("cache", torch.zeros(8, latent_dim), persistent=False)

    def decode(self, latents):
        self.cache[: len(latents)] = latents
        return super().decode(self.cache[: len(latents)])


class Reusing(Halves):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        if not hasattr(self, "out"):
            self.out = torch.zeros(8, 6, dtype=torch.int64)
        self.out[: len(latents)] = tokens
        return (pictures * 255).to(torch.uint8), self.out[: len(latents)]


class Moody(Halves):
    def decode_tokens(self, latents):
        tokens = self.decode(latents)[1]
        tokens[3:] = tokens[3:].flip(1)
        return tokens


class Normal(Halves):
    def decode(self, latents):
        return super().decode(latents / latents.norm(dim=1, keepdim=True))
"""


def load(user: User, name: str, **options: Any) -> Engine:
    path = user.folder / f"{user.module}.py"
    path.write_text(path.read_text() + CACHED)
    return user.load(name, **options)


@pytest.mark.parametrize("name", ["Cached", "Reusing"])
@pytest.mark.parametrize("threads", [1, 4])
def test_memory_that_a_network_uses_again_changes_no_result(user: User, name: str, threads: int) -> None:
    engine = load(user, name, threads=threads)
    alone = [engine.generate([seed])[0] for seed in range(20)]
    for _ in range(5):
        assert same(engine.generate(range(20)), alone)


def test_the_self_check_sees_every_place_of_a_block_of_captions(user: User) -> None:
    with pytest.raises(SetupError, match="another caption at another place of a batch"):
        load(user, "Moody")


def test_what_a_block_is_filled_up_with_suits_a_network_that_divides_by_the_latent(user: User) -> None:
    engine = load(user, "Normal")
    assert len(engine.generate(range(5))) == 5


def test_several_callers_of_a_gpu_take_turns(user: User) -> None:
    network = load(user, "Keeping")._decoder._networks.get()  # type: ignore[attr-defined]
    decoder = CudaDecoder(network, CANONICAL_SHAPES["cuda"], torch.device("cpu"))
    latents = [draw_latents(range(start, start + 8), 12) for start in (0, 8, 16)]
    wanted = [decoder.decode(some)[0] for some in latents]
    found: list[bool] = []

    def call(number: int) -> None:
        found.extend(torch.equal(decoder.decode(latents[number])[0], wanted[number]) for _ in range(20))

    with torch.autocast("cpu"):
        callers = [threading.Thread(target=call, args=(number,)) for number in range(3)]
        assert torch.equal(decoder.decode(latents[0])[0], wanted[0])
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [True] * 60


def test_after_a_shortage_it_is_looked_whether_the_device_still_gives_the_same(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(tiny_model / "best.pt", tiny_model / "tokenizer.json", device="cpu")
    engine.self_check()
    decode = engine._decoder.decode
    spoilt: list[bool] = []
    enough: list[bool] = []

    def short(latents: torch.Tensor, free: object) -> tuple[torch.Tensor, list[list[int]]]:
        engine._decoder.shortages += not enough
        pixels, tokens = decode(latents)
        return (pixels ^ 1 if spoilt else pixels), tokens

    monkeypatch.setattr(engine._decoder, "decode", short)
    assert len(engine.generate([3])) == 1
    spoilt.append(True)
    with pytest.raises(OutOfDeviceMemory, match="gives seed 0 other bits than at start"):
        engine.generate([3])
    enough.append(True)
    with pytest.raises(OutOfDeviceMemory, match="gives seed 0 other bits than at start"):
        engine.generate([3])  # no new shortage, but what the last one did has not been proven harmless
    spoilt.clear()
    assert len(engine.generate([3])) == 1


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        ("pictures * 255", "divide by 255, or return uint8"),
        ("pictures / 0 * 0", "they are not finite"),
        ("pictures * 2 - 1", r"add \(x \+ 1\) / 2"),
    ],
)
def test_the_advice_suits_the_range_that_was_seen(user: User, pictures: str, words: str) -> None:
    user.write(pictures)
    with pytest.raises(ArchitectureError, match=words):
        user.load()
