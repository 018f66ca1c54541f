"""seedmill's worker: takes chunks of seeds from the queue and publishes a picture and its metadata for each.

Run it as ``python -m worker``; for the model without a queue import ``worker.inference``.
"""
