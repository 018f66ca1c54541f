"""The contract: a seed gives the same bytes from any worker, in any batch and order, and almost so on lesser CPUs."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np

from producer import Client
from tests.support import run_python
from worker.local.process import Process
from worker.local.stack import Endpoints, Stack

SEEDS = range(5000, 5200)

GENERATE = """
import sys
import numpy as np
from worker.model.engine import Engine
engine = Engine(*sys.argv[1:3], device="cpu")
done = engine.generate(range(5))
np.savez(sys.argv[3], pixels=np.stack([one.pixels for one in done]), captions=[one.caption for one in done])
"""

LESSER_CPUS = [
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
]


def test_two_workers_give_200_seeds_the_same_bytes_in_random_batches_and_orders(
    stack: Stack, endpoints: Endpoints, worker: Process, model_environment: dict[str, str]
) -> None:
    second = stack.start_worker({**model_environment, "SEEDMILL_MAX_BATCH": "5", "SEEDMILL_CPU_THREADS": "1"})
    shuffle = random.Random(0)
    hashes: list[dict[int, str | None]] = []
    try:
        for chunk_size in (7, 32):
            with Client(endpoints.redis_url, chunk_size=chunk_size) as client:
                seeds = shuffle.sample(SEEDS, len(SEEDS))
                cuts = sorted({0, len(seeds), *shuffle.sample(range(1, len(seeds)), 5)})
                jobs = [client.submit(seeds[start:end]) for start, end in pairwise(cuts)]
                results = [result for job in jobs for result in job.wait(120).results()]
                hashes.append({result.seed: result.sha256 for result in results})
    finally:
        second.stop()
    assert hashes[0] == hashes[1]
    assert sorted(hashes[0]) == list(SEEDS)
    assert len(set(hashes[0].values())) == len(SEEDS)
    assert worker.exit_status is None


def test_a_lesser_cpu_gives_the_same_captions_and_pixels_within_one_step(demo_model: Path, tmp_path: Path) -> None:
    files = [str(demo_model / "best.pt"), str(demo_model / "tokenizer.json")]
    found = []
    for number, environment in enumerate([{}, *LESSER_CPUS]):
        path = tmp_path / f"{number}.npz"
        done = run_python("-c", GENERATE, *files, str(path), environment=environment)
        assert done.returncode == 0, done.stderr
        found.append(np.load(path))
    for other in found[1:]:
        assert json.dumps(found[0]["captions"].tolist()) == json.dumps(other["captions"].tolist())
        assert np.abs(found[0]["pixels"].astype(int) - other["pixels"].astype(int)).max() <= 1
