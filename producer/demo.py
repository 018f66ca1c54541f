"""A Gradio demo that drives the client over HTTP, alone or as a part of the API: an optional extra, loaded here alone.

Seeds go in, and pictures with their captions come out as they are published. It has nothing that other callers have
not: each visitor's own key, where the API asks for one, and pictures as files of the API. Nothing is asked of another
host.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from producer.aio import AsyncClient, AsyncJob
from producer.contract import MAX_SEED, JobStatus, SeedStatus, image_name
from producer.errors import ExtraMissing, InvalidSeed, SeedmillError
from producer.message import SeedResult
from producer.seeds import parse_seeds

try:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    import gradio as gr
    import httpx2
except ImportError as error:
    raise ExtraMissing(f'the demo needs Gradio ({error}): pip install "/path/to/this/checkout[demo]"') from error

MAX_SEEDS = 100
"""Seeds that can be asked for at once: the gallery shows them all."""

SURPRISES = 6
AT_ONCE = 64
"""Visitors who watch pictures arrive at once; others wait for their turn."""

KEPT_S = 3600
"""Seconds after which pictures that were shown are deleted here; the bucket has them."""

TITLE = "seedmill"
WELCOME = "# seedmill\n\nA seed is a whole number from 0 to 4294967295. The same seed always gives the same picture."
EXAMPLE = "7 8 100..109"

Url: TypeAlias = Callable[[Any], str]
"""Where the API is, told by a visitor's request (:class:`gradio.Request`)."""

Shown: TypeAlias = tuple[list[tuple[str, str]], str, str]
"""Pictures with their captions, a line of text, and the job's id, "" if there is none."""

OPTIONS: dict[str, Any] = {
    "theme": gr.themes.Soft(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
    "footer_links": [],
    "max_file_size": 1,
    "run_history": False,
    "ssr_mode": False,
    "enable_monitoring": False,
}
"""How it is served: with fonts of the visitor's machine, and without files that visitors send."""


def create_demo(url: Url, *, asks_for_key: bool = True) -> gr.Blocks:
    """Return the demo, ready to be launched or mounted.

    Args:
        url: where the API is.
        asks_for_key: whether there is a field for an API key.
    """
    visit = Visit(url)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as demo:
        gr.Markdown(WELCOME)
        key = gr.Textbox(label="API key", type="password", visible=asks_for_key, placeholder="sm_...")
        seeds = gr.Textbox(label="Seeds", placeholder=EXAMPLE, info="Numbers and ranges, between blanks or commas.")
        with gr.Row():
            make = gr.Button("Make", variant="primary")
            surprise = gr.Button("Surprise me")
            cancel = gr.Button("Cancel", variant="stop")
        status = gr.Textbox(label="Status", interactive=False)
        pictures = gr.Gallery(
            label="Pictures", columns=4, object_fit="contain", interactive=False, buttons=["download"]
        )
        job = gr.State("")
        asked = {"inputs": [seeds, key], "outputs": [pictures, status, job], "concurrency_limit": AT_ONCE}
        gr.on([make.click, seeds.submit], visit.make, **asked, api_name="make")
        surprise.click(surprising_seeds, None, seeds, api_name="surprise").then(visit.make, **asked, api_name=False)
        cancel.click(visit.cancel, [job, key], status, concurrency_limit=AT_ONCE, api_name="cancel")
    demo.queue(max_size=4 * AT_ONCE)
    return demo


def mount(app: Any, path: str, url: Url, *, asks_for_key: bool, root_path: str | None) -> None:
    """Serve the demo below a path of an application; ``root_path`` is where users find it, if that is elsewhere."""
    demo = create_demo(url, asks_for_key=asks_for_key)
    gr.mount_gradio_app(app, demo, path, root_path=root_path, **OPTIONS)


def launch(url: str, host: str, port: int) -> None:
    """Serve the demo alone, until Ctrl-C."""
    demo = create_demo(lambda _: url)
    print(f"open http://{host}:{port}", flush=True)
    demo.launch(server_name=host, server_port=port, share=False, inbrowser=False, quiet=True, **OPTIONS)


def surprising_seeds() -> str:
    """Return some seeds that nobody has thought of."""
    return " ".join(str(random.randint(0, MAX_SEED)) for _ in range(SURPRISES))  # noqa: S311  # nothing is secret


class Visit:
    """What the buttons do."""

    def __init__(self, url: Url) -> None:
        self._url = url

    async def make(self, text: str | None, key: str | None, request: gr.Request) -> AsyncIterator[Shown]:
        """Submit seeds and show what becomes of them until all have ended."""
        gallery: list[tuple[str, str]] = []
        job_id, url, key = "", self._url(request), _clean(key)
        try:
            seeds = _read(_clean(text))
            with tempfile.TemporaryDirectory() as folder:
                async with AsyncClient(url=url, api_key=key) as client, Files(url, key, Path(folder)) as files:
                    job = await client.submit(seeds)
                    job_id = job.id
                    yield gallery, _say(job), job_id
                    async for seen in job.watch():
                        gallery = await files.fetch(seen)
                        yield gallery, _say(seen, *files.troubles), job_id
        except SeedmillError as error:
            yield gallery, _sentence(error), job_id

    async def cancel(self, job_id: str, key: str | None, request: gr.Request) -> str:
        """Cancel the job that is shown."""
        if not job_id:
            return "There is nothing to cancel."
        try:
            async with AsyncClient(url=self._url(request), api_key=_clean(key)) as client:
                return _say(await (await client.get(job_id)).cancel())
        except SeedmillError as error:
            return _sentence(error)


class Files:
    """Fetches the pictures of one job into a folder, each once.

    Args:
        url: the API, which hands them through: the object store may be out of reach here and for the visitor.
        key: the visitor's.
        folder: where they go; Gradio copies them from there when they are shown.
    """

    def __init__(self, url: str, key: str, folder: Path) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.AsyncClient(base_url=url, headers=headers, timeout=30)
        self._folder = folder
        self._captions: dict[str, str] = {}
        self.troubles: list[str] = []
        """What the visitor should know of seeds without a picture."""

    async def __aenter__(self) -> Files:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def fetch(self, job: AsyncJob) -> list[tuple[str, str]]:
        """Return all pictures that are there by now, with their captions, in the order of the seeds."""
        found, self.troubles = [], []
        async for result in job.results():
            path = self._folder / image_name(result.seed)
            trouble = result.error["message"] if result.error else await self._fetch(result, path)
            if result.status is SeedStatus.SUCCEEDED and not trouble:
                found.append((str(path), f"{result.seed}: {result.caption}"))
            elif trouble:
                self.troubles.append(f"Seed {result.seed}: {trouble}")
        return found

    async def _fetch(self, result: SeedResult, path: Path) -> str:
        """Write a picture; returns what was in the way, "" for nothing."""
        if path.exists() or result.status is not SeedStatus.SUCCEEDED:
            return ""
        place = f"/v1/images/{result.seed}/file"
        try:
            answer = await self._client.get(place, params={"model": str(result.model_id)})
            if answer.status_code == 200:
                path.write_bytes(answer.content)
                return ""
            return str(answer.json()["detail"])
        except (httpx2.HTTPError, ValueError, LookupError) as error:
            return f"the API does not give its picture ({type(error).__name__})"


def _clean(text: str | None) -> str:
    """Return what a field has, which is ``None`` where nothing was ever written."""
    return (text or "").strip()


def _read(text: str) -> Sequence[int]:
    if not text:
        raise InvalidSeed(f"no seed is given: write numbers and ranges, as in {EXAMPLE}")
    seeds = parse_seeds(text.split())
    if len(seeds) > MAX_SEEDS:
        raise InvalidSeed(f"{len(seeds)} seeds are more than are shown here: give at most {MAX_SEEDS}")
    return seeds


def _say(job: AsyncJob, *troubles: str) -> str:
    """Return how a job fares, in a line for people."""
    counts = job.counts
    done = f"{counts.succeeded} of {counts.total} pictures"
    words = {
        JobStatus.QUEUED: f"In the queue: {job.queue_position or 0} before it.",
        JobStatus.RUNNING: f"{done} so far{_outlook(job)}.",
        JobStatus.SUCCEEDED: f"Done: {done}.",
        JobStatus.FAILED: f"Ended: {done}, {counts.failed} failed.",
        JobStatus.CANCELED: f"Cancelled: {done} were made.",
        JobStatus.EXPIRED: "The job has expired: ask again.",
    }
    return " ".join([words[job.status], *troubles[:1]])


def _outlook(job: AsyncJob) -> str:
    speed = f", {job.seeds_per_s:.1f} a second" if job.seeds_per_s else ""
    return f"{speed}, {job.eta_s:.0f} s left" if job.eta_s is not None else speed


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
