"""The Celery application of the worker and its settings, each with its reason.

Messages come through a transport of our own (worker/queue/transport.py). Evidence for the other values: stock Celery
records finished work as failed after a network blip, and hangs on half-open connections unless these are set.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from celery import Celery

from producer.connection import TIMEOUT_S
from producer.queue_keys import queue_keys
from producer.redis_url import normalize_url, read_sentinels
from worker.queue.events import LastEvents
from worker.queue.ledger import Ledger
from worker.queue.transport import broker_url
from worker.settings import WorkerSettings


def celery_url(url: str) -> str:
    """Return the URL in the form that Celery takes; that of Sentinels as if the first were the primary.

    It wants user, password and database in their places and not as options, those of a socket excepted, TLS
    verification said, and sockets in its own scheme; a semicolon would be the end of the URL. The version of the
    protocol it does not take.
    """
    sentinels = read_sentinels(url)
    parts = urlsplit((sentinels.url if sentinels else normalize_url(url)).replace(";", "%3B"))
    options = dict(parse_qsl(parts.query))
    options.pop("protocol", None)
    user, password, database = (options.pop(name, "") for name in ("username", "password", "db"))
    netloc, path = parts.netloc, parts.path
    if "@" not in netloc and (user or password):
        netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{netloc}"
    scheme = parts.scheme
    if scheme == "unix":
        scheme = "redis+socket"
        options |= {"virtual_host": database} if database else {}
    elif database:
        path = f"/{database}"
    if scheme == "rediss":
        options.setdefault("ssl_cert_reqs", "required")
    query = f"?{urlencode(options, safe='/')}" if options else ""
    return f"{scheme}://{netloc}{path}{query}"


def build_app(settings: WorkerSettings, ledger: Ledger, turned: Callable[[], object]) -> Celery:
    """Return the application, whose messages come from the ledger; it knows no task yet and connects to nothing.

    ``turned`` is called every second while the worker's loop turns, and while it waits for Redis.
    """
    url, sentinels = celery_url(settings.redis_url), read_sentinels(settings.redis_url)
    backend = "disabled://" if sentinels else url  # the recorder stores results (worker/results.py)
    app = Celery("seedmill", broker=broker_url(url), backend=backend, set_as_current=False)
    app.conf.update(
        # What travels: JSON alone, on one queue.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_default_queue=queue_keys(settings.queue).celery,
        result_expires=settings.result_ttl_s,
        # A message is settled after its result is stored; how many a worker holds is the ledger's to say.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # A short outage of Redis is waited for; it neither fails finished work nor ends the worker.
        result_backend_always_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        redis_socket_timeout=TIMEOUT_S,
        redis_socket_connect_timeout=TIMEOUT_S,
        redis_socket_keepalive=True,
        redis_retry_on_timeout=True,
        redis_backend_health_check_interval=10,
        # Monitors are told of tasks when one asks for it, unless the settings say so from the start. Rate limits would
        # hold messages back after they were taken, and forget them when the connection breaks.
        worker_send_task_events=settings.task_events,
        worker_disable_rate_limits=True,
        # The worker logs through structlog (producer/logs.py).
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport_options={
            "ledger": ledger,
            "sentinels": sentinels,
            "turned": turned,
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "priority_steps": [0],
        },
    )
    app.steps["consumer"].add(LastEvents)
    return app
