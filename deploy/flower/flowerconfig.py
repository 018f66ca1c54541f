"""Flower's settings that its own variables cannot say: one that is empty counts as not set."""

import os

persistent = True
db = "/data/flower"
basic_auth = [pair for pair in os.environ.get("BASIC_AUTH", "").split(",") if pair]
