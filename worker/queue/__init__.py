"""The worker's end of the queue: what it has taken is written down before it is out of the queue, and stays so."""
