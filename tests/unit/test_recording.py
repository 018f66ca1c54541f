"""What a GPU computes is recorded and replayed: the same bits, and no harm where no recording can be made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor

from tests.support import TINY
from tests.unit.users import User
from worker import doctor
from worker.model import recording
from worker.model.custom import CustomNetwork
from worker.model.decoders import CANONICAL_SHAPES, CudaDecoder
from worker.model.engine import Engine
from worker.model.exact import CUBLAS
from worker.model.latents import draw_latents
from worker.model.network import SeedNetwork, initialize
from worker.model.recording import Compute, Recording
from worker.settings import WorkerSettings

BATCH = torch.arange(8.0)


class Tape:
    """Stands in for what records on a GPU: replays by computing again, and counts."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.errors = list(errors)
        self.made = self.replayed = 0

    def __call__(self, compute: Compute, network: Any, batch: Tensor, pool: Any) -> Any:
        if self.errors and (error := self.errors.pop(0)):
            raise error
        self.made += 1

        def replay(batch: Tensor) -> tuple[Tensor, ...]:
            self.replayed += 1
            return compute(network, batch)

        return replay


def double(network: Any, batch: Tensor) -> tuple[Tensor, ...]:
    return (2 * batch,)


def recorded_by(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> Recording:
    monkeypatch.setattr(recording, "recorded", tape)
    return Recording(double, None)


def test_it_is_recorded_once_and_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape()
    compute = recorded_by(tape, monkeypatch)
    for factor in (1, 2, 3):
        assert torch.equal(compute(None, factor * BATCH)[0], 2 * factor * BATCH)
    assert (tape.made, tape.replayed) == (1, 3)


def test_where_no_recording_can_be_made_it_is_computed_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape(RuntimeError("operation not permitted when stream is capturing"))
    compute = recorded_by(tape, monkeypatch)
    with capture_logs() as logs:
        for _ in range(3):
            assert torch.equal(compute(None, BATCH)[0], 2 * BATCH)
    assert [entry["action"] for entry in logs] == ["not_recorded"]
    assert tape.made == 0


def test_a_shortage_while_recording_is_a_shortage_whatever_the_end_of_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("CUDA error: capture was invalidated")
    error.__context__ = torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")
    compute = recorded_by(Tape(error), monkeypatch)
    with pytest.raises(torch.OutOfMemoryError, match=r"2\.00 GiB"):
        compute(None, BATCH)
    assert torch.equal(compute(None, BATCH)[0], 2 * BATCH), "it is tried again"


def pretended(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> tuple[CudaDecoder, CudaDecoder]:
    """Return a decoder that records as on a GPU, and one that does not."""
    network = SeedNetwork(TINY)
    initialize(network, 0)
    monkeypatch.setattr(recording, "recorded", tape)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    recording_, plain = (CudaDecoder(network, CANONICAL_SHAPES["cuda"], torch.device("cpu")) for _ in range(2))
    monkeypatch.setattr(recording_, "_can_be_recorded", True)
    return recording_, plain


def test_each_stream_records_each_part_and_a_shortage_lets_go_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape()
    decoder, plain = pretended(tape, monkeypatch)
    latents = draw_latents(range(20), TINY.latent_dim)
    pixels, tokens = plain.decode(latents)
    for _ in range(2):
        again, tokens_again = decoder.decode(latents)
        assert torch.equal(again, pixels)
        assert tokens_again == tokens
    assert decoder.decode_tokens(latents) == tokens
    assert (tape.made, tape.replayed) == (6, 15)
    tape.errors = [None, None, torch.OutOfMemoryError("full")]
    assert torch.equal(decoder.decode(draw_latents(range(64), TINY.latent_dim))[0][:20], pixels)
    assert (decoder.limit.rows, decoder.shortages) == (32, 1)
    assert len(decoder._recordings) == 4


def test_a_network_of_the_users_is_not_recorded(user: User) -> None:
    network: Any = user.load("Halves")._decoder._networks.get()  # type: ignore[attr-defined]
    assert isinstance(network, CustomNetwork)
    decoder = CudaDecoder(network, CANONICAL_SHAPES["cuda"], torch.device("cpu"))
    decoder._device = torch.device("cuda")
    assert decoder._parts_on(0) is decoder._parts


def test_doctor_sets_cublas_before_it_asks_for_the_name_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    monkeypatch.setattr(doctor, "resolve_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: f"a GPU with {os.environ[CUBLAS]}")
    assert "a GPU with :4096:8" in doctor._device(WorkerSettings()).detail


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_replays_the_bits_that_it_computes(demo_model: Path, precision: Any) -> None:
    files = (demo_model / "best.pt", demo_model / "tokenizer.json")
    engine, plain = (Engine(*files, device="cuda", precision=precision) for _ in range(2))
    plain._decoder._can_be_recorded = False  # type: ignore[attr-defined]
    with capture_logs() as logs:
        for count in (64, 1, 13):
            for found, wanted in zip(engine.generate(range(count)), plain.generate(range(count)), strict=True):
                assert found.caption == wanted.caption
                assert np.array_equal(found.pixels, wanted.pixels)
    assert logs == []
    assert engine._decoder._recordings  # type: ignore[attr-defined]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", ["Net", "Halves"])
def test_a_network_of_the_users_gives_the_same_bits_on_a_gpu(user: User, name: str) -> None:
    engine = user.load(name, device="cuda")
    together = engine.generate(range(40))
    for wanted in together[::7]:
        (found,) = engine.generate([wanted.seed])
        assert found.caption == wanted.caption
        assert np.array_equal(found.pixels, wanted.pixels)
