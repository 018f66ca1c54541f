"""A seed gives the same bits alone and in any company."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import TINY, write_model
from worker.errors import CheckpointError, DecodeError, DeviceError, SetupError
from worker.model.decoders import CANONICAL_SHAPES, CpuDecoder, _padded
from worker.model.engine import Engine
from worker.model.generated import Generated
from worker.model.latents import draw_latents
from worker.model.network import SeedNetwork, initialize


def load(folder: Path, **options: Any) -> Engine:
    return Engine(folder / "best.pt", folder / "tokenizer.json", device="cpu", **options)


@pytest.fixture(scope="module")
def demo(demo_model: Path) -> Engine:
    return load(demo_model)


def same(first: Generated, second: Generated) -> bool:
    return first.caption == second.caption and np.array_equal(first.pixels, second.pixels)


def test_a_picture_is_256_by_256_rgb_and_a_caption_has_5_to_20_words(demo: Engine) -> None:
    for generated in demo.generate([0, 42, 4294967295]):
        assert generated.pixels.shape == (256, 256, 3)
        assert generated.pixels.dtype == np.uint8
        assert 5 <= len(generated.caption.split()) <= 20


def test_results_come_in_the_order_of_the_seeds(demo: Engine) -> None:
    assert [generated.seed for generated in demo.generate([9, 3, 9])] == [9, 3, 9]
    assert demo.generate([]) == []


def test_a_seed_gives_the_same_bits_in_any_batch_order_and_position(demo: Engine) -> None:
    seeds = list(range(20))
    alone = {seed: demo.generate([seed])[0] for seed in seeds}
    shuffle = random.Random(0)
    for _ in range(3):
        shuffle.shuffle(seeds)
        cut = shuffle.randint(1, 19)
        for batch in (seeds[:cut], seeds[cut:]):
            assert all(same(generated, alone[generated.seed]) for generated in demo.generate(batch))


def test_threads_of_the_caller_and_of_the_engine_change_no_bit(demo_model: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        (first,) = load(demo_model, threads=1).generate([42])
        torch.set_num_threads(2)
        (second,) = load(demo_model, threads=3).generate([42])
    finally:
        torch.set_num_threads(before)
    assert same(first, second)


def test_loading_leaves_the_callers_thread_settings_alone(tiny_model: Path) -> None:
    before = torch.get_num_threads()
    load(tiny_model, threads=2).generate([1])
    assert torch.get_num_threads() == before


def test_distinct_seeds_give_distinct_pictures(demo: Engine) -> None:
    pictures = {generated.pixels.tobytes() for generated in demo.generate(range(30))}
    assert len(pictures) == 30


def test_the_model_id_changes_with_weights_and_tokenizer_and_with_nothing_else(tmp_path: Path) -> None:
    first = load(write_model(tmp_path / "a"))
    again = load(write_model(tmp_path / "b"), threads=1)
    other = load(write_model(tmp_path / "c", seed=1))
    assert first.info.id == again.info.id != other.info.id
    assert first.info.id.startswith("tiny-")
    tokenizer = tmp_path / "b" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert load(tmp_path / "b").info.id != first.info.id


def test_dimensions_that_contradict_the_checkpoint_are_refused_with_both_numbers(tiny_model: Path) -> None:
    with pytest.raises(CheckpointError, match=r"latent_dim=1024.*latent_dim=32"):
        load(tiny_model, latent_dim=1024)
    with pytest.raises(CheckpointError, match=r"vocab_size=5.*vocab_size=1266"):
        load(tiny_model, vocab_size=5)


def test_a_tokenizer_of_another_size_is_refused_with_both_numbers(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"then": ', '"the": '))
    with pytest.raises(CheckpointError, match=r"1265 tokens.*vocab_size=1266"):
        load(folder)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:0", "CUDA"])
def test_a_device_that_is_not_there_is_refused_by_name(tiny_model: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=device):
        Engine(tiny_model / "best.pt", tiny_model / "tokenizer.json", device=device)


def test_no_device_asked_for_means_the_best_one_there(tiny_model: Path) -> None:
    engine = Engine(tiny_model / "best.pt", tiny_model / "tokenizer.json")
    assert engine.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_self_check_passes_on_this_machine(demo: Engine) -> None:
    demo.self_check()


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_the_self_check_refuses_a_model_whose_results_depend_on_the_company(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, odd: int
) -> None:
    engine = load(tiny_model)

    def by_company(latents: torch.Tensor, free: object) -> tuple[torch.Tensor, list[list[int]]]:
        pixels = torch.zeros((len(latents), 3, 16, 16), dtype=torch.uint8)
        if len(latents) > 1:
            pixels[odd] = 1
        return pixels, [[0]] * len(latents)

    monkeypatch.setattr(engine._decoder, "decode", by_company)
    with pytest.raises(SetupError, match="self-check failed: seed"):
        engine.self_check()


class Watched:
    """A network that remembers the shapes in which, and the threads on which, it was called."""

    def __init__(self) -> None:
        self.picture = torch.nn.Identity()
        self.seen: list[tuple[str, int, int]] = []

    def decode_pictures(self, latents: torch.Tensor) -> torch.Tensor:
        self.seen.append(("pictures", len(latents), torch.get_num_threads()))
        return torch.zeros(len(latents), 3, 2, 2)

    def decode_tokens(self, latents: torch.Tensor) -> torch.Tensor:
        self.seen.append(("tokens", len(latents), torch.get_num_threads()))
        return torch.zeros((len(latents), 1), dtype=torch.int64)


def test_a_picture_that_is_not_finite_is_an_error_and_no_picture() -> None:
    network: Any = Watched()
    network.decode_pictures = lambda latents: torch.full((len(latents), 3, 2, 2), torch.nan)
    with pytest.raises(DecodeError, match="not finite"):
        CpuDecoder(network, CANONICAL_SHAPES["cpu"], threads=1).decode(torch.zeros(2, 4))


@pytest.mark.parametrize("latent_dim", [30, 33, 129])
def test_a_latent_whose_rows_are_not_aligned_gives_the_same_bits_at_every_place(latent_dim: int) -> None:
    network = SeedNetwork(TINY.model_copy(update={"latent_dim": latent_dim}))
    initialize(network, 0)
    latents = draw_latents(range(40), latent_dim)

    def pictures(model: Any, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (model.decode_pictures(batch),)

    for row in range(40):
        (inside,) = _padded(pictures, network, latents[row : row + 1], 1)
        (alone,) = _padded(pictures, network, latents[row : row + 1].clone(), 1)
        assert torch.equal(inside, alone)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_a_cpu_computes_in_its_canonical_shape_alone(count: int) -> None:
    network: Any = Watched()
    shape = CANONICAL_SHAPES["cpu"]
    pixels, tokens = CpuDecoder(network, shape, threads=2).decode(torch.zeros(count, 4))
    assert (len(pixels), len(tokens)) == (count, count)
    assert set(network.seen) == {("pictures", 1, 1), ("tokens", 8, 1)}


def test_threads_that_cannot_be_started_are_told_and_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Thread.start
    count = iter(range(100))

    def start(thread: threading.Thread) -> None:
        if next(count) >= 2:
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(SetupError, match="SEEDMILL_CPU_THREADS"):
        CpuDecoder(Watched(), CANONICAL_SHAPES["cpu"], threads=4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_gives_the_same_bits_in_any_batch(demo_model: Path) -> None:
    engine = Engine(demo_model / "best.pt", demo_model / "tokenizer.json", device="cuda")
    engine.self_check()
    together = engine.generate(range(40))
    assert all(same(engine.generate([generated.seed])[0], generated) for generated in together[::7])


def test_canonical_shapes_name_their_device() -> None:
    assert all(shape.device == name for name, shape in CANONICAL_SHAPES.items())


def test_a_cpu_is_free_for_more_when_a_thread_has_no_more_to_do_and_not_before() -> None:
    network: Any = Watched()
    asked, go_on = threading.Semaphore(0), threading.Semaphore(0)
    freed, done = threading.Event(), threading.Event()

    def decode_pictures(latents: torch.Tensor) -> torch.Tensor:
        asked.release()
        assert go_on.acquire(timeout=20)
        return torch.zeros(len(latents), 3, 2, 2)

    def decode() -> None:
        decoder.decode(torch.zeros(5, 4), freed.set)
        done.set()

    network.decode_pictures = decode_pictures
    decoder = CpuDecoder(network, CANONICAL_SHAPES["cpu"], threads=2)
    thread = threading.Thread(target=decode)
    thread.start()
    for _ in range(3):  # of five pictures two are at work and two, then one, then none wait
        assert asked.acquire(timeout=20)
        assert not freed.wait(0.05)
        go_on.release()
    for _ in range(2):
        assert asked.acquire(timeout=20)
    assert not freed.wait(0.05), "both threads are at work"
    go_on.release()
    assert freed.wait(20)
    assert not done.is_set(), "one picture is at work yet"
    go_on.release()
    assert done.wait(20)
    thread.join()


def test_a_cpu_with_more_threads_than_there_is_to_do_is_free_at_once() -> None:
    network: Any = Watched()
    go_on, freed = threading.Event(), threading.Event()

    def decode_pictures(latents: torch.Tensor) -> torch.Tensor:
        assert go_on.wait(20)
        return torch.zeros(len(latents), 3, 2, 2)

    network.decode_pictures = decode_pictures
    decoder = CpuDecoder(network, CANONICAL_SHAPES["cpu"], threads=3)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(decoder.decode, torch.zeros(1, 4), freed.set)
        assert freed.wait(20)
        assert not done.done()
        go_on.set()


@pytest.mark.parametrize("bad", [0, 4])
def test_a_cpu_is_not_free_of_a_batch_that_fails(bad: int) -> None:
    network: Any = Watched()
    freed = threading.Event()

    def decode_pictures(latents: torch.Tensor) -> torch.Tensor:
        if latents[0, 0] == bad:
            raise ValueError("cannot be drawn")
        return torch.zeros(len(latents), 3, 2, 2)

    network.decode_pictures = decode_pictures
    decoder = CpuDecoder(network, CANONICAL_SHAPES["cpu"], threads=1)
    with pytest.raises(ValueError, match="cannot be drawn"):
        decoder.decode(torch.arange(5.0).reshape(5, 1).repeat(1, 4), freed.set)
    assert not freed.is_set()


def test_batches_that_overlap_give_the_same_bits(demo: Engine) -> None:
    wanted = [demo.generate([seed])[0] for seed in range(24)]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(demo.generate, range(start, start + 12)) for start in (0, 12)]
        done = [one for half in both for one in half.result()]
    assert all(same(first, second) for first, second in zip(wanted, done, strict=True))
