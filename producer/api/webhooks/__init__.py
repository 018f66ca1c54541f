"""Webhooks: who named a URL with a job is told of its end by a signed POST, off the path of the workers.

Workers only note that a job is due (producer/scripts/); processes of the API send (delivery.py), through a way out that
reaches public addresses alone (egress.py). What cannot be delivered in a day is kept as a dead letter (store.py).
"""
