"""The HTTP API over the same records as the Redis clients: FastAPI, no torch, no state of its own (extra ``api``).

app.py puts the parts together; routes/ has the paths, each thin; settings.py what the environment says. Everything
that one process knows dies with it: jobs, keys, answers to repeat and events are in Redis.
"""
