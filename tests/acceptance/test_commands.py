"""The commands as a user types them: output, files and exit status."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from PIL import Image

from producer import Client, attempts
from producer.contract import held_key, image_key
from producer.message import ChunkMessage
from tests.support import clean_environment, model_variables, one_line, run_python, run_seedmill, run_worker_command
from worker.errors import BucketMissing
from worker.local.process import Process, free_port
from worker.local.servers import start_valkey
from worker.local.stack import Endpoints
from worker.storage import ObjectStore


@pytest.fixture
def environment(endpoints: Endpoints, worker: Process, model_environment: dict[str, str]) -> dict[str, str]:
    return {**endpoints.environment(), **model_environment}


# seedmill


def test_submit_prints_the_id_that_status_and_results_take(environment: dict[str, str]) -> None:
    done = run_seedmill("submit", "7", "8..9", "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert job["counts"]["total"] == 3
    waited = run_seedmill("wait", job["id"], "--json", environment=environment)
    assert waited.returncode == 0
    assert json.loads(waited.stdout)["status"] == "succeeded"
    seen = json.loads(run_seedmill("status", job["id"], "--json", environment=environment).stdout)
    assert (seen["id"], seen["status"]) == (job["id"], "succeeded")
    results = json.loads(run_seedmill("results", job["id"], "--json", environment=environment).stdout)
    assert [entry["seed"] for entry in results] == [7, 8, 9]
    assert all(entry["image_uri"].startswith("s3://") for entry in results)


def test_submit_and_wait_shows_pictures_for_people(environment: dict[str, str]) -> None:
    done = run_seedmill("submit", "0..3", "--wait", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "4 succeeded of 4 seeds" in done.stderr
    fields = [row.split("\t") for row in done.stdout.splitlines()]
    assert [(seed, status) for seed, status, _, _ in fields] == [(str(n), "succeeded") for n in range(4)]
    assert all(5 <= len(caption.split()) <= 20 and uri.startswith("s3://") for _, _, caption, uri in fields)
    assert "4/4" in done.stderr


def test_in_a_pipe_submit_prints_the_id_alone(quiet: Endpoints) -> None:
    done = run_seedmill("submit", "0..3", environment=quiet.environment())
    with Client(quiet.redis_url) as client:
        assert client.get(done.stdout.removesuffix("\n")).counts.total == 4


def test_a_reader_that_goes_is_no_failure_of_the_job(environment: dict[str, str]) -> None:
    with Client(environment["SEEDMILL_REDIS_URL"]) as client:
        job = client.submit(range(3)).wait(60)
    reading, writing = os.pipe()
    os.close(reading)
    for options in ([], ["--json"]):
        with os.fdopen(os.dup(writing), "w") as gone:
            done = run_seedmill("results", job.id, *options, environment=environment, stdout=gone)
        assert (done.returncode, done.stderr) == (141, "")
    os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_output_that_cannot_be_written_is_one_line(quiet: Endpoints) -> None:
    with Path("/dev/full").open("w") as full:
        done = run_seedmill("submit", "1", environment=quiet.environment(), stdout=full)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_submit_names_its_job_and_a_repeat_is_the_same_job(environment: dict[str, str]) -> None:
    for _ in range(2):
        done = run_seedmill("submit", "5", "--id", "the-same", "--wait", "--json", environment=environment)
        assert json.loads(done.stdout)["id"] == "the-same"
        assert len(json.loads(done.stdout)["results"]) == 1


def test_cancel_and_queue_tell_the_truth(quiet: Endpoints) -> None:
    environment = quiet.environment()
    job = json.loads(run_seedmill("submit", "0..99", "--json", environment=environment).stdout)
    depth = json.loads(run_seedmill("queue", "--json", environment=environment).stdout)
    assert 0 <= depth.pop("oldest_job_s") < 60
    counts = {"waiting": 4, "interactive": 0, "held": 0, "active_jobs": 1, "dead_letters": 0}
    default = {"waiting": 4, "held": 0, "backlog": 100, "workers": 0, "model_id": None}
    assert depth == {**counts, "lanes": [0, 0, 0, 4], "workers": [], "queues": {"default": default}}
    shown = run_seedmill("queue", environment=environment).stdout
    assert "4 messages waiting" in shown
    assert re.search(r"^1 job not ended \(the oldest for \d+ s\), 0 dead letters$", shown, re.MULTILINE)
    canceled = run_seedmill("cancel", job["id"], environment=environment)
    assert canceled.returncode == 0
    assert "canceled" in canceled.stdout
    again = run_seedmill("cancel", job["id"], environment=environment)
    assert (again.returncode, "had ended already" in again.stderr) == (0, True)
    waited = run_seedmill("wait", job["id"], environment=environment)
    assert waited.returncode == 1
    assert "100 canceled" in waited.stderr


def test_status_tells_what_is_ahead_of_a_job(quiet: Endpoints) -> None:
    environment = quiet.environment()
    with Client(quiet.redis_url) as client:
        client.submit(range(100))
        job = client.submit(range(100))
    seen = run_seedmill("status", job.id, environment=environment).stdout
    assert seen.endswith("100 queued of 100 seeds; 1 ahead in the queue\n")
    facts = json.loads(run_seedmill("status", job.id, "--json", environment=environment).stdout)
    assert (facts["queue_position"], facts["seeds_per_s"], facts["eta_s"]) == (1, None, None)


def test_the_url_can_be_given_as_an_option(quiet: Endpoints) -> None:
    done = run_seedmill("queue", "--json", "--redis-url", quiet.redis_url)
    assert json.loads(done.stdout)["waiting"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "x"], "'x' is not a seed"),
        (["submit", "5..1"], "backwards"),
        (["submit", "4294967296"], "4294967296"),
        (["submit", "1.5"], "'1.5'"),
        (["submit", "1", "--id", "a b"], "'a b'"),
        (["submit", "-5"], "-5 is not a seed"),
        (["submit", "0..3000000"], "0..3000000 has 3000001 seeds"),
        (["status", "nobody"], "'nobody' is not found"),
        (["results", "nobody"], "not found"),
        (["wait", "nobody"], "not found"),
        (["cancel", "nobody"], "not found"),
        (["queue", "--redis-url", "me:hush@h"], "'***@h'"),
        (["queue", "--redis-url", "http://h"], "SEEDMILL_REDIS_URL"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(quiet: Endpoints, arguments: list[str], words: str) -> None:
    done = run_seedmill(*arguments, environment=quiet.environment())
    assert done.returncode == 2
    assert words in one_line(done.stderr)
    with Client(quiet.redis_url) as client:
        assert client.queue().waiting == 0


def test_an_id_of_brackets_is_shown_as_it_is(quiet: Endpoints) -> None:
    with Client(quiet.redis_url) as client:
        message = ChunkMessage("[/x]", "[/x]", 0, (1,))
        client._redis.hset(held_key("w"), "1", "0message")
        client._run(attempts.start_chunk(message, held=held_key("w"), tag="1", adopt=True, alone=False, ttl_s=3600))
    done = run_seedmill("status", "[/x]", environment=quiet.environment())
    assert done.returncode == 0, done.stderr
    assert "job [/x] running" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit"], "SEED"),
        (["status"], "ID"),
        (["nonsense"], "nonsense"),
        (["submit", "1", "--wait", "--timeout", "soon"], "--timeout"),
        (["submit", "1", "--wait", "--timeout", "nan"], "--timeout"),
        (["submit", "1", "--timeout", "1"], "add --wait"),
        (["submit", "1", "--wiat"], "no such option: --wiat"),
    ],
)
def test_commands_typed_wrongly_have_status_2(arguments: list[str], words: str) -> None:
    done = run_seedmill(*arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_server_that_is_not_there_is_status_3() -> None:
    done = run_seedmill("queue", "--redis-url", f"redis://127.0.0.1:{free_port()}/0")
    assert done.returncode == 3
    assert "does not answer" in one_line(done.stderr)


def test_a_timeout_is_status_4_and_says_that_the_job_goes_on(quiet: Endpoints) -> None:
    done = run_seedmill("submit", "1", "--wait", "--timeout", "0.1", environment=quiet.environment())
    assert done.returncode == 4
    assert "still queued after 0.1 s" in done.stderr
    assert "the job goes on: seedmill wait " in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_waiting_leaves_the_job_and_says_how_to_go_on(quiet: Endpoints) -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from producer.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "submit", "1", "--wait"]
    environment = clean_environment(quiet.environment())
    with Client(quiet.redis_url) as client:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not client.queue().waiting:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "the job goes on: seedmill wait" in said
        assert client.queue().waiting == 1


def test_debug_shows_the_traceback_and_changes_no_status() -> None:
    done = run_seedmill("submit", "x", "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode == 2


# python -m worker


def test_generate_saves_pictures_and_metadata_without_any_server(
    model_environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "samples"
    done = run_worker_command("generate", "--seeds", "0..4 42", "--out", str(out), environment=model_environment)
    assert done.returncode == 0, done.stderr
    entries = json.loads((out / "metadata.json").read_text())
    assert [entry["seed"] for entry in entries] == [0, 1, 2, 3, 4, 42]
    for entry in entries:
        with Image.open(out / entry["image_path"]) as image:
            assert (image.mode, image.size) == ("RGB", (256, 256))
        assert {"seed", "caption", "latent_dim", "image_size", "device", "model", "sha256"} <= set(entry)
    assert "6/6" in done.stderr
    assert "untrained" not in done.stderr


def test_generate_gives_the_bytes_that_the_worker_publishes(
    environment: dict[str, str], endpoints: Endpoints, store: ObjectStore, tmp_path: Path
) -> None:
    run_worker_command("generate", "42", "--out", str(tmp_path), environment=environment)
    with Client(endpoints.redis_url) as client:
        (result,) = client.submit(42).wait(60).results()
    published = store.get(image_key(str(result.model_id), 42))
    assert (tmp_path / "seed_0000000042.png").read_bytes() == published


def test_generate_asks_until_it_is_told_to_quit(model_environment: dict[str, str], tmp_path: Path) -> None:
    done = run_worker_command(
        "generate", "--interactive", "--out", str(tmp_path), environment=model_environment, stdin="7\n\nx\n1..2\nQ\n9\n"
    )
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == [f"seed_{seed:010d}.png" for seed in (1, 2, 7)]
    assert "'x' is not a seed" in done.stdout
    entries = json.loads((tmp_path / "metadata.json").read_text())
    assert [entry["seed"] for entry in entries] == [7, 1, 2]


def test_a_folder_that_cannot_be_written_is_named(model_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "inside"
    done = run_worker_command("generate", "--seed", "1", "--out", str(out), environment=model_environment)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "x"], "'x' is not a seed"),
        (["-5"], "-5 is not a seed"),
        (["1", "--seed", "2"], "one of"),
        (["--seeds", "5..1"], "backwards"),
        (["--seed", "1", "--device", "tpu"], "tpu"),
        ([], "--interactive"),
        (["--seed", "1", "--seeds", "2"], "one of"),
        (["--seed", "1 2"], "more than one seed"),
    ],
)
def test_generate_refuses_what_it_cannot_do(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = run_worker_command("generate", *arguments, "--out", str(tmp_path / "none"))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_checkpoint_can_be_made_and_shown(tmp_path: Path) -> None:
    made = run_worker_command("checkpoint", "init", "--preset", "demo", "--out", str(tmp_path))
    assert made.returncode == 0, made.stderr
    assert "UNTRAINED" in made.stdout
    assert f"export SEEDMILL_CHECKPOINT={tmp_path / 'best.pt'}" in made.stdout
    files = [str(tmp_path / "best.pt")]
    facts = json.loads(run_worker_command("checkpoint", "show", *files, "--json").stdout)
    assert (facts["latent_dim"], facts["vocab_size"], facts["image_size"]) == (1024, 1266, 256)
    assert facts["trained"] is False
    assert facts["sha256"] in run_worker_command("checkpoint", "show", *files).stdout
    again = run_worker_command("checkpoint", "init", "--out", str(tmp_path))
    assert again.returncode == 1
    assert "--force" in one_line(again.stderr)
    forced = run_worker_command("checkpoint", "init", "--out", str(tmp_path), "--force")
    assert forced.returncode == 0
    assert hashlib.sha256((tmp_path / "best.pt").read_bytes()).hexdigest() == facts["sha256"]
    used = run_worker_command(
        "generate", "--seed", "1", "--out", str(tmp_path / "out"), environment=model_variables(tmp_path)
    )
    assert used.returncode == 0
    assert "untrained" in used.stderr


def test_an_unknown_preset_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = run_worker_command("checkpoint", "init", "--preset", "huge", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "demo or large" in done.stderr


def test_doctor_passes_where_all_is_well(environment: dict[str, str]) -> None:
    done = run_worker_command("doctor", "--json", environment=environment)
    assert done.returncode == 0, done.stdout
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    outcomes = {name: check["outcome"] for name, check in checks.items()}
    assert outcomes == {
        "python": "pass",
        "packages": "pass",
        "device": "pass",
        "model": "pass",
        "generation": "pass",
        "queue": "pass",
        "workers": "pass",
        "storage": "pass",
    }
    assert "million parameters" in checks["model"]["detail"]


def test_doctor_skips_what_is_not_configured(model_environment: dict[str, str]) -> None:
    done = run_worker_command("doctor", environment=model_environment)
    assert done.returncode == 0
    assert done.stdout.count("skip") == 3
    assert "redis://127.0.0.1:6379/0" in done.stdout


def test_doctor_fails_with_what_to_do(environment: dict[str, str]) -> None:
    broken = {
        **environment,
        "SEEDMILL_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "SEEDMILL_CHECKPOINT": "nowhere.pt",
    }
    done = run_worker_command("doctor", "--json", environment=broken)
    assert done.returncode == 1
    failed = {c["name"]: c["detail"] for c in json.loads(done.stdout)["checks"] if c["outcome"] == "fail"}
    assert set(failed) == {"model", "queue", "workers", "storage"}
    assert "git checkout" in failed["model"]
    assert "hush" not in done.stdout


def test_commands_that_only_look_make_no_bucket(environment: dict[str, str], endpoints: Endpoints) -> None:
    elsewhere = {**environment, "SEEDMILL_S3_BUCKET": "nobodys-bucket"}
    done = run_worker_command("doctor", "--json", environment=elsewhere)
    assert done.returncode == 0
    (storage,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "storage"]
    assert storage["outcome"] == "warn"
    done = run_worker_command("verify", "1", environment=elsewhere)
    assert done.returncode == 1
    assert "'nobodys-bucket'" in one_line(done.stderr)
    with pytest.raises(BucketMissing):
        ObjectStore(endpoints.storage().model_copy(update={"s3_bucket": "nobodys-bucket"})).check_bucket()


def test_verify_proves_what_is_published(environment: dict[str, str], endpoints: Endpoints) -> None:
    with Client(endpoints.redis_url) as client:
        job = client.submit([501, 502]).wait(60)
    for arguments in (["501", "502"], ["--job", job.id], ["--sample", "2"]):
        done = run_worker_command("verify", *arguments, "--json", environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert (report["same"], report["compared"]) == (2, 2)
        assert {entry["finding"] for entry in report["seeds"]} == {"same"}


def test_verify_finds_what_was_tampered_with_and_what_is_not_there(
    environment: dict[str, str], endpoints: Endpoints, store: ObjectStore
) -> None:
    with Client(endpoints.redis_url) as client:
        (result, _) = client.submit([601, 602]).wait(60).results()
    key = image_key(str(result.model_id), 601)
    whole = store.get(key)
    store.put(key, whole[:-10], "image/png")
    done = run_worker_command("verify", "601..603", "--json", environment=environment)
    store.put(key, whole, "image/png")
    assert done.returncode == 1
    findings = {entry["seed"]: entry["finding"] for entry in json.loads(done.stdout)["seeds"]}
    assert findings == {601: "damaged", 602: "same", 603: "not published"}


def test_verify_says_clearly_when_another_model_made_it(
    environment: dict[str, str], endpoints: Endpoints, tmp_path: Path
) -> None:
    with Client(endpoints.redis_url) as client:
        job = client.submit([701]).wait(60)
    run_worker_command("checkpoint", "init", "--seed", "5", "--out", str(tmp_path))
    other = {**environment, **model_variables(tmp_path)}
    for arguments in (["--job", job.id], ["701"]):
        done = run_worker_command("verify", *arguments, environment=other)
        assert done.returncode == 1
        assert "other model" in done.stdout
        assert "made by demo-" in " ".join(done.stdout.split())
    done = run_worker_command("verify", "--sample", "5", environment=other)
    assert done.returncode == 1
    assert "but by another model: demo-" in one_line(done.stderr)


def test_the_list_of_commands_is_shown() -> None:
    shown = run_worker_command("--help")
    assert shown.returncode == 0
    for name in ("run", "doctor", "generate", "verify", "checkpoint", "local", "demo"):
        assert name in shown.stdout
    assert "--seeds" in run_worker_command("demo", "--help").stdout
    unknown = run_worker_command("checkpiont")
    assert (unknown.returncode, "'checkpoint'" in unknown.stderr) == (2, True)


def test_a_python_without_the_dependencies_is_told_what_to_use() -> None:
    done = run_python("-S", "-m", "worker", "doctor")
    assert done.returncode == 1
    assert "is not installed for" in one_line(done.stderr)
    assert ".venv/bin/python" in done.stderr


def test_pictures_carry_their_story(environment: dict[str, str], endpoints: Endpoints, store: ObjectStore) -> None:
    with Client(endpoints.redis_url) as client:
        (result,) = client.submit(42).wait(60).results()
    info = Image.open(io.BytesIO(store.get(image_key(str(result.model_id), 42)))).info
    assert info["parameters"].startswith(f"{result.caption}\n")
    assert json.loads(info["seedmill"])["model"]["id"] == result.model_id


def test_who_waits_is_told_that_no_worker_is_there(quiet: Endpoints) -> None:
    environment = quiet.environment()
    waited = run_seedmill("submit", "1", "--id", "alone", "--wait", "--timeout", "1", environment=environment)
    for done in (
        waited,
        run_seedmill("status", "alone", environment=environment),
        run_seedmill("wait", "alone", "--timeout", "1", environment=environment),
    ):
        assert "no worker is seen, so nothing is done: python -m worker run" in done.stderr
    run_seedmill("cancel", "alone", environment=environment)
    assert "no worker" not in run_seedmill("status", "alone", environment=environment).stderr


def test_a_redis_that_asks_for_a_password_is_told_as_such(tmp_path: Path) -> None:
    server = start_valkey(tmp_path / "data", tmp_path)
    try:
        redis.Redis(port=server.port).config_set("requirepass", "secret")
        for url, says in (
            (f"redis://127.0.0.1:{server.port}/0", "asks for a password, and the URL (SEEDMILL_REDIS_URL) has none"),
            (f"redis://:wrong@127.0.0.1:{server.port}/0", "refused the user or password"),
        ):
            done = run_seedmill("queue", "--redis-url", url)
            assert done.returncode == 3
            assert says in done.stderr
    finally:
        server.process.stop()
