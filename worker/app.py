"""The Celery application of the worker and its settings, each with its reason.

Evidence for the values: stock Celery on Redis redelivers after 100 to 300 s, records finished work as failed after a
network blip, and hangs on half-open connections unless these are set.
"""

from __future__ import annotations

from celery import Celery

from producer.connection import TIMEOUT_S, normalize_url
from producer.contract import QUEUE
from worker.settings import WorkerSettings


def celery_url(url: str) -> str:
    """Return the URL in the form that Celery takes: it wants TLS verification said, and sockets in its own scheme."""
    url = normalize_url(url)
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
        url += "&ssl_cert_reqs=required" if "?" in url else "?ssl_cert_reqs=required"
    return url.replace("unix://", "redis+socket://", 1)


def build_app(settings: WorkerSettings) -> Celery:
    """Return the application; it knows no task yet (worker/task.py) and connects to nothing."""
    url = celery_url(settings.redis_url)
    app = Celery("seedmill", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        # What travels: JSON alone, on one queue.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE,
        result_expires=settings.result_ttl_s,
        # A message leaves the queue after its result is stored, and a worker holds no more than it works on.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
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
        # The worker logs through structlog (worker/logs.py).
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_s,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "priority_steps": [0],
        },
    )
    return app
