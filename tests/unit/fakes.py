"""Stand-ins for the model and the store, for tests of pure logic."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np

from worker.errors import ObjectMissing, StorageError
from worker.model.generated import Generated, ModelInfo

MODEL = ModelInfo(
    id="fake-0123456789abcdef",
    name="fake",
    architecture="fake/1",
    precision="fp32",
    weights="model_state_dict",
    trained=True,
    checkpoint_sha256="c" * 64,
    tokenizer_sha256="d" * 64,
    latent_dim=8,
    vocab_size=9,
    image_size=16,
    device="cpu",
    parameters=10,
)


def picture(seed: int) -> Generated:
    """Return a result whose pixels and caption tell its seed."""
    return Generated(seed, np.full((16, 16, 3), seed % 251, np.uint8), f"caption of {seed}")


class FakeModel:
    """Generates at once, raises on chosen seeds, and remembers its batches."""

    info = MODEL

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = set(bad)
        self.batches: list[list[int]] = []

    def draw(self, seeds: Sequence[int]) -> list[str]:
        """Return a latent per seed."""
        return [f"latent of {seed}" for seed in seeds]

    def generate(self, seeds: Sequence[int], latents: Sequence[str], free: Callable[[], None]) -> list[Generated]:
        """Return a result per seed, or raise."""
        assert list(latents) == [f"latent of {seed}" for seed in seeds]
        self.batches.append(list(seeds))
        if culprits := self.bad.intersection(seeds):
            raise ValueError(f"cannot draw {sorted(culprits)}")
        return [picture(seed) for seed in seeds]


class FakeStore:
    """Keeps objects in memory, in the order in which they came."""

    def __init__(self, refuse: str = "\0") -> None:
        self.objects: dict[str, bytes] = {}
        self.refuse = refuse
        self.opened = threading.Event()
        self.opened.set()

    def put(self, key: str, data: bytes, content_type: str, *, sha256: str = "") -> None:
        """Keep an object, unless its key contains what is refused."""
        assert sha256 in ("", hashlib.sha256(data).hexdigest())
        self.opened.wait()
        if self.refuse in key:
            raise StorageError(f"refused {key}")
        self.objects[key] = data

    def get(self, key: str) -> bytes:
        """Return an object."""
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key]

    def size(self, key: str) -> int | None:
        """Return the bytes of an object."""
        return len(self.objects[key]) if key in self.objects else None

    def uri(self, key: str) -> str:
        """Return an address."""
        return f"s3://fake/{key}"
