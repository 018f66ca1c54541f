"""``make demo`` and ``make up``: pictures at the end, the same bytes every time, and nothing left running."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from producer import Client
from tests.support import ROOT, clean_environment, model_variables, one_line, run_seedmill, run_worker_command
from worker.local.process import Process, free_port
from worker.local.servers import Server, start_s3, start_valkey
from worker.local.stack import running_stack

SEEDS = [42, 7, 4294967295]
MARK = "SEEDMILL_TEST_MARK"
LINUX = Path("/proc/self/environ").exists()


@pytest.fixture
def environment(demo_model: Path) -> dict[str, str]:
    return {**model_variables(demo_model), MARK: uuid.uuid4().hex}


@pytest.fixture
def tiny(environment: dict[str, str], tiny_model: Path) -> dict[str, str]:
    """The same for a model that is quick to load."""
    return {**environment, **model_variables(tiny_model)}


@pytest.fixture(autouse=True)
def _nothing_is_left_running(environment: dict[str, str]) -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while (left := marked_processes(environment[MARK])) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def marked_processes(mark: str, command: str = "") -> list[int]:
    """Return all processes that inherited the mark in their environment and have ``command`` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_text()
            if mark.encode() in (folder / "environ").read_bytes() and command in line and not line.startswith("make"):
                found.append(int(folder.name))
    return found


def make(*arguments: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start make in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell in the background ignores SIGINT and its children inherit that; a terminal's do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("seed_*.png"))}


def test_the_demo_ends_with_pictures_and_metadata_and_the_same_bytes_twice(
    environment: dict[str, str], tmp_path: Path
) -> None:
    found = []
    for run in ("first", "second"):
        out, data = tmp_path / run, tmp_path / f"{run}_data"
        arguments = [f"SEEDS={' '.join(map(str, SEEDS))}", f"OUT={out}", f"DATA={data}"]
        process = make("demo", *arguments, environment=environment)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        entries = json.loads((out / "metadata.json").read_text())
        assert [entry["seed"] for entry in entries] == SEEDS
        for entry in entries:
            path = out / entry["image_path"]
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "RGB", (256, 256))
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
            assert (entry["latent_dim"], entry["image_size"], entry["device"]) == (1024, [256, 256], "cpu")
            assert entry["model_id"].startswith("demo-")
            assert 5 <= len(entry["caption"].split()) <= 20
            assert entry["caption"].split()[0] in output
        with Image.open(out / "contact_sheet.png") as sheet:
            assert sheet.width > 3 * 256
        assert str(data) in output.replace("\n", "")
        assert "http://127.0.0.1:" in output
        found.append(digests(out))
    assert found[0] == found[1]
    assert list(found[0]) == [f"seed_{seed:010d}.png" for seed in sorted(SEEDS)]


def test_without_a_checkpoint_nothing_is_started_and_the_file_is_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = run_worker_command("demo", "--seeds", "0..4", environment={MARK: environment[MARK]}, cwd=tmp_path)
    assert done.returncode == 1
    assert str(tmp_path / "checkpoints" / "best.pt") in one_line(done.stderr)
    assert "git checkout checkpoints" in one_line(done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seeds", "words"), [("1 x", "'x'"), ("5..1", "backwards"), ("-1", "-1"), ("", "at least one")]
)
def test_bad_seeds_start_nothing(environment: dict[str, str], tmp_path: Path, seeds: str, words: str) -> None:
    done = run_worker_command("demo", "--seeds", seeds, environment=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_used_ends_the_demo_with_the_reason(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "best.pt").write_bytes(b"not a checkpoint")
    environment["SEEDMILL_CHECKPOINT"] = str(tmp_path / "best.pt")
    done = run_worker_command("demo", environment=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert "best.pt: damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert digests(tmp_path / "out") == {}


def wait_for(process: subprocess.Popen[str], words: str) -> str:
    """Read the output until it contains ``words``; returns what was read."""
    assert process.stdout is not None
    seen = ""
    while words not in seen:
        line = process.stdout.readline()
        assert line, f"ended before {words!r}: {seen}"
        seen += line
    return seen


def test_a_folder_that_cannot_be_written_starts_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_worker_command("demo", "--out", "file", environment=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot be written" in one_line(done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_demo_does_not_work_through_what_a_killed_one_left(tiny: dict[str, str], tmp_path: Path) -> None:
    with running_stack(tmp_path / "data") as stack:
        stack.start_servers()
        with Client(stack.endpoints.redis_url) as client:
            client.submit(range(100_000))
    arguments = ["--seeds", "3", "--data", str(tmp_path / "data")]
    done = run_worker_command("demo", *arguments, environment=tiny, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 picture," in done.stdout


def test_ctrl_c_ends_the_demo_with_nothing_left(environment: dict[str, str], tmp_path: Path) -> None:
    arguments = ["SEEDS=0..5000", f"OUT={tmp_path / 'out'}", f"DATA={tmp_path / 'data'}"]
    process = make("demo", *arguments, environment=environment)
    wait_for(process, "queue redis://")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "everything that was started has been stopped" in output
    assert "Traceback" not in output


def test_up_says_where_everything_is_serves_and_ends_on_ctrl_c(environment: dict[str, str], tmp_path: Path) -> None:
    process = make("up", f"DATA={tmp_path}", environment=environment)
    shown = wait_for(process, "Ctrl-C stops it")
    lines = (tmp_path / "up" / "env").read_text().splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    for name in ("SEEDMILL_REDIS_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert variables[name] in shown
    done = run_seedmill("submit", "0..9", "--wait", environment=variables)
    assert done.returncode == 0, done.stderr
    check_api(shown, tmp_path)
    second = run_worker_command("local", "up", "--data", str(tmp_path / "up"), environment=environment)
    assert second.returncode == 1
    assert "in use by another stack" in second.stderr
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "stopped" in output
    assert "Traceback" not in output


def check_api(shown: str, folder: Path) -> None:
    """Run the lines that use curl as they are shown, and look whether the API is where the file of variables has it."""
    url = re.findall(r"API +(http://127\.0\.0\.1:\d+) ", shown)[0]
    assert f"# export SEEDMILL_API_URL={url} " in (folder / "up" / "env").read_text()
    submitted, fetched = (
        subprocess.run(["sh", "-c", f"{line.strip()} -s"], cwd=folder, capture_output=True, timeout=60, check=True)
        for line in shown.splitlines()
        if line.strip().startswith("curl ")
    )
    job = json.loads(submitted.stdout)
    assert (job["status"], job["counts"]["total"], fetched.stdout) == ("succeeded", 1, b"")
    with Image.open(folder / "7.png") as image:
        assert image.mode == "RGB"
    assert f"open {url}\n" in shown
    for path, words in (("", b"<title>seedmill</title>"), ("/docs", b"swagger-ui")):
        with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
            assert words in answer.read()


@pytest.mark.skipif(not LINUX, reason="the kernel of this system cannot tie a process to its parent")
def test_killing_the_stack_outright_leaves_nothing_either(tiny: dict[str, str], tmp_path: Path) -> None:
    process = make("up", f"DATA={tmp_path}", environment=tiny)
    wait_for(process, "Ctrl-C stops it")
    (parent,) = marked_processes(tiny[MARK], "local\0up")
    os.kill(parent, signal.SIGKILL)
    process.communicate(timeout=30)


def test_stacks_that_start_together_never_take_each_others_servers(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    together, checked = threading.Barrier(3), threading.Event()
    found: queue.SimpleQueue[list[Server]] = queue.SimpleQueue()

    def start(name: str) -> None:
        folder, keys = tmp_path / name, {"access_key": "key", "secret_key": "secret"}
        together.wait()
        found.put(
            [start_valkey(folder / "valkey", folder, port=port), start_s3(folder / "s3", folder, port=other, **keys)]
        )
        checked.wait()  # a server ends with the thread that started it

    threads = [threading.Thread(target=start, args=(name,), daemon=True) for name in "abc"]
    for thread in threads:
        thread.start()
    servers = [server for _ in threads for server in found.get(timeout=60)]
    assert len({server.port for server in servers}) == 6
    assert all(server.process.exit_status is None for server in servers)
    for server in servers:
        server.process.stop()
    checked.set()


def test_the_demo_is_deaf_to_proxies_and_profiles_of_the_environment(tiny: dict[str, str], tmp_path: Path) -> None:
    loud = {
        **tiny,
        "AWS_PROFILE": "nobody",
        "AWS_SESSION_TOKEN": "stale",
        "HTTP_PROXY": f"http://127.0.0.1:{free_port()}",
        "SEEDMILL_S3_PREFIX": "elsewhere/",
        "SEEDMILL_REDIS_URL": "redis://nowhere:1/0",
    }
    done = run_worker_command("demo", "--seeds", "3", environment=loud, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("option", ["--out", "--data"])
def test_a_folder_without_a_name_is_refused(environment: dict[str, str], tmp_path: Path, option: str) -> None:
    done = run_worker_command("demo", option, "", "--seeds", "1", environment=environment, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "folder" in done.stderr
    assert not (tmp_path / "valkey").exists()


def test_brackets_in_a_folder_name_are_no_markup(tiny: dict[str, str], tmp_path: Path) -> None:
    done = run_worker_command("demo", "--out", "o[/]b", "--seeds", "1", environment=tiny, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "o[/]b" in done.stdout


def test_a_stack_ends_whatever_happens_inside_it(tmp_path: Path) -> None:
    processes: list[Process] = []

    def fail() -> None:
        with running_stack(tmp_path) as stack:
            stack.start_servers()
            processes.extend(stack.servers.values())
            raise KeyError("something")

    with pytest.raises(KeyError):
        fail()
    assert len(processes) == 2
    assert all(process.exit_status is not None for process in processes)
