"""A GPU whose memory does not suffice: fewer at a time, the same results, and a plain word when nothing helps."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor

from tests.support import TINY, write_model
from tests.unit.users import User
from worker import loading
from worker.errors import OutOfDeviceMemory
from worker.model import decoders
from worker.model.decoders import CANONICAL_SHAPES, CudaDecoder
from worker.model.engine import Engine
from worker.model.latents import draw_latents
from worker.model.network import SeedNetwork, initialize
from worker.model.shortage import GROW_AFTER, BatchLimit
from worker.settings import WorkerSettings

SHAPE = CANONICAL_SHAPES["cuda"]
CPU = torch.device("cpu")
"""Stands in for the GPU: the decoder is the real one, and so are its errors."""


SHORT = """
class Short(Net):
    errors = 0

    def decode(self, latents):
        if self.errors:
            self.errors -= 1
            raise ERROR
        return super().decode(latents)
"""


class Tight(SeedNetwork):
    """A network that runs out of memory at chosen calls."""

    def __init__(self, *failing: int) -> None:
        super().__init__(TINY)
        initialize(self, 0)
        self.failing, self.calls = set(failing), 0

    def decode_pictures(self, latents: Tensor) -> Tensor:
        self.calls += 1
        if self.calls in self.failing:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().decode_pictures(latents)


def decoded(network: SeedNetwork, count: int) -> tuple[CudaDecoder, Tensor, list[list[int]]]:
    decoder = CudaDecoder(network, SHAPE, CPU)
    return decoder, *decoder.decode(draw_latents(range(count), TINY.latent_dim))


@pytest.mark.parametrize("failing", [(1,), (8,), (3, 4, 5), (2, 6, 9), (1, 2, 3)])
def test_a_batch_that_does_not_fit_is_halved_and_no_bit_changes(failing: tuple[int, ...]) -> None:
    _, pixels, tokens = decoded(Tight(), 60)
    with capture_logs() as logs:
        decoder, again, tokens_again = decoded(Tight(*failing), 60)
    assert torch.equal(pixels, again)
    assert tokens == tokens_again
    assert decoder.limit.rows < 64
    assert [entry["action"] for entry in logs] == ["batch_halved"] * len(failing)


@pytest.mark.parametrize("failing", [(), (1,), (2,)])
def test_a_gpu_whose_memory_was_short_is_given_no_more_before_its_results_are_looked_at(
    failing: tuple[int, ...],
) -> None:
    freed: list[bool] = []
    CudaDecoder(Tight(*failing), SHAPE, CPU).decode(
        draw_latents(range(20), TINY.latent_dim), lambda: freed.append(True)
    )
    assert freed == ([] if failing else [True])


def test_what_fitted_is_remembered_and_grown_back_slowly() -> None:
    limit = BatchLimit(8, 64)
    assert limit.shrink(64)
    assert limit.rows == 32
    for _ in range(GROW_AFTER - 1):
        limit.succeeded(32)
    assert limit.rows == 32
    limit.succeeded(32)
    assert limit.rows == 40
    for _ in range(10 * GROW_AFTER):
        limit.succeeded(39)
    assert limit.rows == 40, "batches that were not full show nothing"
    for _ in range(10 * GROW_AFTER):
        limit.succeeded(64)
    assert limit.rows == 64


def test_a_limit_is_whole_blocks_and_ends_at_one() -> None:
    limit = BatchLimit(8, 50)
    sizes = [limit.rows]
    while limit.shrink(limit.rows):
        sizes.append(limit.rows)
    assert sizes == [48, 24, 8]


def test_the_halving_begins_with_what_was_taken() -> None:
    limit = BatchLimit(8, 64)
    assert limit.shrink(20)
    assert limit.rows == 8
    assert not limit.shrink(8)


def test_cached_memory_is_given_back_before_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    decoded(Tight(1, 2), 40)
    assert len(emptied) == 2


def test_where_not_even_one_block_fits_the_cpu_is_advised() -> None:
    network = Tight(*range(1, 20))
    with pytest.raises(OutOfDeviceMemory, match=r"a block of 8.*SEEDMILL_DEVICE=cpu.*Tried to allocate"):
        decoded(network, 40)


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"])
def test_other_libraries_shortages_are_known_too(words: str) -> None:
    network = Tight()
    whole = network.decode_pictures
    errors = [RuntimeError(words)]

    def once(latents: Tensor) -> Tensor:
        if errors:
            raise errors.pop()
        return whole(latents)

    network.decode_pictures = once  # type: ignore[method-assign]
    assert len(decoded(network, 20)[1]) == 20
    errors.append(RuntimeError("device-side assert triggered"))
    with pytest.raises(RuntimeError, match="assert"):
        decoded(network, 20)


def test_weights_that_do_not_fit_are_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    network = Tight()
    monkeypatch.setattr(network, "to", full)
    with pytest.raises(OutOfDeviceMemory, match="the model does not fit"):
        CudaDecoder(network, SHAPE, CPU)


def test_weights_are_laid_out_before_they_take_memory_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    network, calls = Tight(), []
    monkeypatch.setattr(decoders, "channels_last", lambda _: calls.append("laid out"))
    monkeypatch.setattr(network, "to", lambda _: calls.append("moved"))
    CudaDecoder(network, SHAPE, CPU)
    assert calls == ["laid out", "moved"]


@pytest.mark.parametrize("error", ["torch.OutOfMemoryError('full')", "RuntimeError('CUBLAS_STATUS_ALLOC_FAILED')"])
def test_a_shortage_within_a_users_network_is_a_shortage(user: User, error: str) -> None:
    path = user.folder / f"{user.module}.py"
    path.write_text(f"{path.read_text()}\n{SHORT.replace('ERROR', error)}")
    network: Any = user.load("Short")._decoder._networks.get()  # type: ignore[attr-defined]
    decoder = CudaDecoder(network, SHAPE, CPU)
    network.network.errors = 1
    assert len(decoder.decode(draw_latents(range(20), 12))[0]) == 20
    assert (decoder.limit.rows, decoder.shortages) == (8, 1)


@pytest.mark.parametrize("allowed", [True, False])
def test_at_start_the_cpu_takes_over_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    write_model(tmp_path)

    on_gpu: list[weakref.ref[Engine]] = []
    kept: list[Engine | None] = []

    class Full(Engine):
        def self_check(self) -> None:
            if self._gpu:
                on_gpu.append(weakref.ref(self))
                raise OutOfDeviceMemory("a block of 8 does not fit")
            super().self_check()

        def __init__(self, *files: Any, device: str | None, **options: Any) -> None:
            self._gpu = device is None
            super().__init__(*files, device="cpu", **options)

    monkeypatch.setattr(loading, "Engine", Full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: kept.append(on_gpu[0]()))
    settings = WorkerSettings(
        checkpoint=str(tmp_path / "best.pt"), tokenizer=str(tmp_path / "tokenizer.json"), cpu_fallback=allowed
    )
    if not allowed:
        with pytest.raises(OutOfDeviceMemory):
            loading.load_checked_engine(settings)
        return
    with capture_logs() as logs:
        engine = loading.load_checked_engine(settings)
    assert engine.info.device == "cpu"
    assert kept == [None], "the model on the GPU is let go before its memory is given back"
    assert [entry["action"] for entry in logs] == ["cpu_fallback"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_with_little_memory_gives_the_same_bits(demo_model: Path) -> None:
    def engine() -> Engine:
        return Engine(demo_model / "best.pt", demo_model / "tokenizer.json", device="cuda")

    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    wanted = engine().generate(range(64))
    needed = torch.cuda.memory_reserved() - before
    gc.collect()
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + needed * 0.6
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    try:
        with capture_logs() as logs:
            found = engine().generate(range(64))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert {entry["action"] for entry in logs} == {"batch_halved"}
    assert all(a.caption == b.caption and (a.pixels == b.pixels).all() for a, b in zip(wanted, found, strict=True))
