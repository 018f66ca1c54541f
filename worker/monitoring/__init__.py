"""What those outside see of a worker: metrics, heartbeat, traces, log lines, and events for Celery's monitors."""
