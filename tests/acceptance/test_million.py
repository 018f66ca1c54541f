"""The run of a million seeds, over a few thousand: the whole of it works, and its checks find what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.million import measure
from tests.benchmarks.million_check import Manifest, check_objects, computed
from tests.benchmarks.packed_s3 import FILE
from tests.torture.stand_in import MODEL_ID

SEEDS = 3000


@pytest.mark.slow
def test_a_job_whose_workers_and_queue_are_killed_half_way_loses_nothing(tmp_path: Path) -> None:
    found = measure(SEEDS, tmp_path, packed=True)
    assert found["status"] == "succeeded"
    assert found["counts"]["succeeded"] == found["results"]["seeds"] == found["checked"]["manifest_lines"] == SEEDS
    assert found["checked"]["pictures_whole"] == SEEDS
    assert found["computed"]["never"] == 0
    assert SEEDS / 2 <= found["kill"]["done_before"] <= found["kill"]["done_after"] < SEEDS
    assert found["redis"]["results"]["keys"] == -(-SEEDS // 32)


def test_an_object_that_is_not_what_the_manifest_says_is_found(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(f"{MODEL_ID}/seed_0000000000.png 3\nabc".encode())
    with pytest.raises(ValueError, match="the picture of seed 0 is not what"):
        check_objects(tmp_path / FILE, Manifest({}, "", bytearray(32)))


def test_seeds_that_were_computed_never_or_twice_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "computed.log"
    log.write_text("1 0\n1 2\n2 2\n2 2\n")
    assert computed(log, 4) == {"runs": 4, "never": 2, "twice": 2}
