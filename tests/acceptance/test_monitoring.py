"""What a worker shows to those outside: metrics for Prometheus, a heartbeat file, and log lines with ids."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from producer import JobFailed
from tests import monitoring
from tests.monitoring import (
    PROMETHEUS,
    Samples,
    as_prometheus_gets_it,
    is_of_the_api,
    queries,
    scrape,
    types_of,
    unanswered,
    value,
)
from tests.support import ROOT, run_worker_command
from tests.torture.bench import Bench, kill, wait_until
from tests.torture.stand_in import MODEL_ID, Plan
from worker.duties import QUEUE_SEEN_KEY
from worker.local.process import Process, free_port

BAD = 999
GAUGES_S = 12.0
"""Seconds in which what is read from Redis has been read again."""


@pytest.fixture
def port() -> int:
    return free_port(0)


@pytest.fixture
def heartbeat(tmp_path: Path) -> Path:
    return tmp_path / "run" / "heartbeat"


@pytest.fixture
def watched(own_bench: Bench, port: int, heartbeat: Path) -> Process:
    return own_bench.worker(
        Plan(raises=[BAD], ms_per_seed=20),
        SEEDMILL_METRICS_PORT=str(port),
        SEEDMILL_HEARTBEAT_FILE=str(heartbeat),
        SEEDMILL_LOG_LEVEL="debug",
    )


def settled(port: int, name: str, wanted: float, **labels: str) -> Samples:
    """Return the samples once one has the value that is wanted."""
    wait_until(lambda: value(scrape(port), name, **labels) == wanted, f"{name} {labels} is {wanted}", GAUGES_S)
    return scrape(port)


def test_the_metrics_count_what_became_of_seeds(own_bench: Bench, watched: Process, port: int) -> None:
    before = scrape(port)
    for outcome in ("succeeded", "failed", "canceled"):
        assert value(before, "seedmill_seeds_total", outcome=outcome) == 0, "there from the start"
    client = own_bench.client
    client.submit(range(10, 20)).wait(20)
    client.submit(range(10, 15)).wait(20)
    with pytest.raises(JobFailed):
        client.submit([20, BAD]).wait(20)
    ahead, joins = client.submit(range(100, 104), force=True), client.submit([103, 100], force=True)
    ahead.wait(20), joins.wait(20)
    seen = settled(port, "seedmill_dead_letters", 1)
    assert value(seen, "seedmill_seeds_total", outcome="succeeded") == 10 + 5 + 1 + 6
    assert value(seen, "seedmill_seeds_total", outcome="failed") == 1
    assert value(seen, "seedmill_seeds_cached_total") == 5
    assert value(seen, "seedmill_seeds_coalesced_total") == 2
    assert value(seen, "seedmill_dead_letters_written_total") == 1
    assert value(seen, "seedmill_chunks_total", outcome="finished") == 3 + 2 + 1 + 2
    assert value(seen, "seedmill_retries_total", of="batch") >= 2, "a batch that raised is halved"
    published = 10 + 1 + 4
    assert value(seen, "seedmill_batch_seeds_sum") == published + 1
    assert value(seen, "seedmill_seed_seconds_count") == published
    for stage in ("queue", "generate", "encode", "put_image", "put_metadata"):
        assert value(seen, "seedmill_stage_seconds_count", stage=stage) == published
        assert value(seen, "seedmill_stage_seconds_sum", stage=stage) > 0
    assert 0.02 * published <= value(seen, "seedmill_device_busy_seconds_total") < 20
    assert value(seen, "seedmill_in_flight_seeds") == value(seen, "seedmill_line_seeds") == 0
    assert value(seen, "seedmill_workers") == value(seen, "seedmill_redis_up") == 1
    labels = {"model_id": MODEL_ID, "device": "cpu", "precision": "fp32"}
    (version,) = {dict(pairs)["version"] for name, pairs in seen if name == "seedmill_worker_info"}
    assert value(seen, "seedmill_worker_info", version=version, **labels) == 1
    used, limit = (value(seen, "seedmill_device_memory_bytes", kind=kind) for kind in ("used", "limit"))
    assert 10e6 < used < limit


def test_the_metrics_show_what_waits_and_what_is_held(own_bench: Bench, watched: Process, port: int) -> None:
    job = own_bench.client.submit(range(20_000, 21_000), priority="bulk")
    wait_until(lambda: value(scrape(port), "seedmill_queue_messages", priority="9") > 100, "a queue", GAUGES_S)
    seen = scrape(port)
    assert 0 < value(seen, "seedmill_in_flight_messages") <= 64
    assert value(seen, "seedmill_in_flight_seeds") >= 4 * 32
    assert value(seen, "seedmill_line_seeds") > 0
    assert value(seen, "seedmill_queue_held_messages") > 0
    assert value(seen, "seedmill_jobs_active") == 1
    assert 0 < value(seen, "seedmill_oldest_job_age_seconds") < 60
    job.cancel()
    after = settled(port, "seedmill_jobs_active", 0)
    assert value(after, "seedmill_oldest_job_age_seconds") == 0


def test_without_redis_the_metrics_are_served_at_once_and_say_so(
    own_bench: Bench, watched: Process, port: int, heartbeat: Path
) -> None:
    settled(port, "seedmill_redis_up", 1)
    own_bench.kill_valkey()
    wait_until(lambda: value(scrape(port), "seedmill_redis_up") == 0, "Redis is seen to be away", 30)
    asked = time.monotonic()
    seen = scrape(port)
    assert time.monotonic() - asked < 4, "nobody waits for Redis"
    assert math.isnan(value(seen, "seedmill_dead_letters"))
    assert math.isnan(value(seen, "seedmill_queue_messages", priority="0"))
    assert check_health(heartbeat) == 0, "a worker without Redis is not to be started again"
    own_bench.start_valkey()
    settled(port, "seedmill_redis_up", 1)


def test_a_redis_that_takes_no_writes_is_told_and_shown(own_bench: Bench, watched: Process, port: int) -> None:
    settled(port, "seedmill_redis_up", 1)
    own_bench.redis.config_set("maxmemory", 1)
    seen = settled(port, "seedmill_redis_up", 0)
    assert value(seen, "seedmill_workers") == 1, "what can be read is shown"
    own_bench.redis.config_set("maxmemory", 0)
    settled(port, "seedmill_redis_up", 1)


def check_health(path: Path, *options: str) -> int:
    done = run_worker_command("health", *options, environment={"SEEDMILL_HEARTBEAT_FILE": str(path)})
    return done.returncode


def test_the_heartbeat_tells_a_worker_that_works_from_one_that_does_not(
    own_bench: Bench, watched: Process, heartbeat: Path
) -> None:
    assert check_health(heartbeat) == 0
    assert heartbeat.read_text() == f"serving {watched.pid}\n"
    os.kill(watched.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: check_health(heartbeat, "--max-age", "2") == 1, "a frozen worker is seen", 10)
        assert check_health(heartbeat) == 0, "half a minute is not over"
    finally:
        os.kill(watched.pid, signal.SIGCONT)
    wait_until(lambda: check_health(heartbeat, "--max-age", "2") == 0, "it works again", 10)
    watched.stop(grace_s=20)
    assert not heartbeat.exists()
    assert check_health(heartbeat) == 1


def test_a_worker_that_starts_is_live_and_not_yet_well(own_bench: Bench, heartbeat: Path, port: int) -> None:
    own_bench.kill_s3()
    environment = {"SEEDMILL_HEARTBEAT_FILE": str(heartbeat), "SEEDMILL_METRICS_PORT": str(port)}
    own_bench.worker(None, port=0, wait=False, SEEDMILL_S3_TIMEOUT_S="60", **environment)
    silent = socket.create_server(("127.0.0.1", own_bench.s3.port))  # takes connections, and never answers
    try:
        wait_until(heartbeat.exists, "a first beat", 20)
        assert check_health(heartbeat, "--live") == 0
        assert check_health(heartbeat) == 1
        assert heartbeat.read_text().startswith("starting ")
        wait_until(lambda: own_bench.redis.exists(QUEUE_SEEN_KEY), "a look at the queue", 20)
        seen = settled(port, "seedmill_redis_up", 1)
        assert value(seen, "seedmill_worker_ready") == value(seen, "seedmill_dead_letters") == 0
    finally:
        silent.close()


@pytest.mark.parametrize(
    ("text", "says"), [(None, "is not there"), ("nonsense", "is no heartbeat file"), ("", "is no heartbeat file")]
)
def test_what_is_no_heartbeat_is_told_as_such(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "heartbeat"
    if text is not None:
        path.write_text(text)
    done = run_worker_command("health", environment={"SEEDMILL_HEARTBEAT_FILE": str(path)})
    assert done.returncode == 1
    assert says in done.stderr
    assert "SEEDMILL_HEARTBEAT_FILE" in done.stderr
    unset = run_worker_command("health")
    assert (unset.returncode, "SEEDMILL_HEARTBEAT_FILE is not set" in unset.stderr) == (2, True)


def refused(bench: Bench, **environment: str) -> str:
    """Return what a worker says that ends at its start."""
    process = bench.worker(None, port=0, wait=False, **environment)
    wait_until(lambda: process.exit_status is not None, "the end", 30)
    assert process.exit_status != 0
    return process.output()


def test_a_port_that_is_taken_and_a_file_that_cannot_be_written_are_told(
    own_bench: Bench, port: int, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", port)):
        assert "choose another SEEDMILL_METRICS_PORT" in refused(own_bench, SEEDMILL_METRICS_PORT=str(port))
    said = refused(own_bench, SEEDMILL_HEARTBEAT_FILE=str(tmp_path / "file" / "heartbeat"))
    assert "heartbeat cannot be written" in said


def test_an_open_redis_elsewhere_is_refused_unless_its_host_is_trusted(own_bench: Bench) -> None:
    elsewhere = f"redis://0.0.0.0:{own_bench.valkey.port}/0"  # this machine, though not by a loopback address
    said = refused(own_bench, SEEDMILL_REDIS_URL=elsewhere)
    assert "lets in anyone without a password" in said
    assert "SEEDMILL_REDIS_TRUSTED_HOSTS=0.0.0.0" in said
    own_bench.worker(SEEDMILL_REDIS_URL=elsewhere, SEEDMILL_REDIS_TRUSTED_HOSTS="valkey, 0.0.0.0")
    own_bench.client.submit([1, 2]).wait(20)


def test_the_log_follows_a_seed_by_job_chunk_and_batch(own_bench: Bench, watched: Process) -> None:
    with pytest.raises(JobFailed):
        own_bench.client.submit([30, BAD, 31], job_id="followed").wait(20)
    wait_until(lambda: "chunk_finished" in watched.output(), "the last line of it, written after the job has ended")
    lines = [line for line in own_bench.actions(watched) if line.get("job_id") == "followed"]
    (started,) = [line for line in lines if line["action"] == "chunk_started"]
    published = {line["seed"]: line for line in lines if line["action"] == "seed_published"}
    (failed,) = [line for line in lines if line["action"] == "seed_failed"]
    (ended,) = [line for line in lines if line["action"] == "chunk_finished"]
    assert started["chunk"] == ended["chunk"] == 0
    assert set(published) == {30, 31}
    assert failed["seed"] == BAD
    batches = {line["batch_id"] for line in (*published.values(), failed)}
    generated = [line for line in own_bench.actions(watched) if line["action"] == "batch_generated"]
    assert len(batches) == 1
    assert batches <= {line["batch_id"] for line in generated}


def test_the_dashboard_and_the_alerts_ask_for_what_a_worker_gives(
    own_bench: Bench, watched: Process, port: int
) -> None:
    own_bench.client.submit(range(40, 44)).wait(20)
    samples = scrape(port)
    asked = [(name, query) for name, query in queries() if not is_of_the_api(query)]
    assert len(asked) > 30
    assert {name: missing for name, query in asked if (missing := unanswered(query, samples))} == {}
    assert unanswered("sum by (colour) (rate(seedmill_pictures_total[1m]))", samples) == [
        "seedmill_pictures_total",
        "colour",
    ]
    assert unanswered('seedmill_seeds_total{outcome="lost"}', samples) == ["seedmill_seeds_total{'outcome': 'lost'}"]


def test_every_metric_that_a_worker_gives_is_documented(watched: Process, port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert monitoring.documented() == types_of(answer.read().decode())


@pytest.fixture
def prometheus(port: int, tmp_path: Path) -> Iterator[str]:
    """A Prometheus with our configuration, whose workers are found by their address instead of by DNS."""
    if not (program := shutil.which("prometheus")):
        pytest.skip("no prometheus on PATH")
    config: Any = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))
    config["scrape_configs"] = [job] = [job for job in config["scrape_configs"] if job["job_name"] == "seedmill-worker"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    config["global"].update(scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s")
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(PROMETHEUS.with_name("alerts.yml"), tmp_path)
    own = free_port(0)
    options = {"config.file": "prometheus.yml", "storage.tsdb.path": "data", "web.listen-address": f"127.0.0.1:{own}"}
    with (tmp_path / "prometheus.log").open("w") as log:
        running = subprocess.Popen(
            [program, *(f"--{name}={text}" for name, text in options.items())], cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{own}/api/v1"
    finally:
        running.terminate()
        running.wait(20)


def ask(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {}


def test_prometheus_answers_every_query_and_has_the_worker_as_a_target(
    own_bench: Bench, watched: Process, prometheus: str
) -> None:
    wait_until(lambda: ask(f"{prometheus}/targets").get("activeTargets"), "a target", 30)
    for start in range(50, 90, 4):
        own_bench.client.submit(range(start, start + 4)).wait(20)
        time.sleep(1)
    (target,) = ask(f"{prometheus}/targets")["activeTargets"]
    assert (target["health"], target["labels"]["job"]) == ("up", "seedmill-worker")
    silent = []
    for name, query in queries():
        text = urllib.parse.quote(as_prometheus_gets_it(query))
        if name.startswith("panel") and not ask(f"{prometheus}/query?query={text}")["result"]:
            silent.append(name)
    assert silent == []
    rules = [rule for group in ask(f"{prometheus}/rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert {rule["name"] for rule in rules if rule["state"] != "inactive"} == set()
    kill(watched)
    wait_until(
        lambda: any(
            rule["name"] == "SeedmillNoWorker" and rule["state"] == "pending"
            for group in ask(f"{prometheus}/rules")["groups"]
            for rule in group["rules"]
        ),
        "the alert that no worker is there",
        20,
    )


@pytest.mark.parametrize(("service", "listens"), [("worker", "METRICS"), ("api", "API")])
def test_what_prometheus_looks_for_is_where_the_stack_has_it(service: str, listens: str) -> None:
    jobs = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))["scrape_configs"]
    (found,) = [target for job in jobs for target in job["dns_sd_configs"] if target["names"] == [service]]
    stack: Any = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    environment = stack["services"][service]["environment"]
    assert str(environment[f"SEEDMILL_{listens}_PORT"]) == str(found["port"])
    assert environment[f"SEEDMILL_{listens}_HOST"] == "0.0.0.0"
