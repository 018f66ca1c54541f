"""A job by the Python client, over HTTP: submit, wait, read, and save a picture.

    python examples/python_client.py [SEED] [FILE]

``SEEDMILL_API_URL`` says where the API is, ``SEEDMILL_API_KEY`` who asks, where it wants to know that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.request import urlopen

from producer import Client, JobFailed, QueueFull


def main(seed: int, file: Path) -> None:
    """Make one picture, and ten captions."""
    with Client(url=os.environ.get("SEEDMILL_API_URL", "http://127.0.0.1:8000")) as client:
        try:
            job = client.submit([seed], metadata={"who": "python_client.py"}).wait(timeout=60)
        except QueueFull as full:
            sys.exit(f"{full}; again in {full.retry_after_s} s")
        except JobFailed as failed:
            sys.exit(str(failed))
        (result,) = job.results()
        print(result.seed, result.caption)
        if result.image_url:
            with urlopen(result.image_url, timeout=30) as answer:  # noqa: S310  # a URL that the API has signed
                file.write_bytes(answer.read())
            print(f"{file} has {file.stat().st_size} bytes")
        for result in client.submit(range(100, 110)).wait(timeout=60).results():
            print(result.seed, result.caption)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 42, Path(sys.argv[2] if len(sys.argv) > 2 else "seed.png"))
