"""What a GPU computes for a block, recorded once and replayed: one launch by the host in place of a thousand.

Blocks are small, so that launching a block's operations one by one takes the host ten times as long as the GPU needs to
carry them out. A recording (a CUDA graph) has the same operations in the same order and so the same bits, which is
looked at when it is made. It can be made only of a network that does the same for every latent and asks the GPU nothing
meanwhile: the built-in one does, of a user's own that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import torch
from torch import Tensor

from worker.model.shortage import is_shortage

Compute = Callable[[Any, Tensor], tuple[Tensor, ...]]
"""A network and some latents to what is computed of them."""

log = structlog.get_logger(__name__)


class Recording:
    """Gives what ``compute`` gives, by replaying it; made at the first call, for batches of one shape on one stream.

    Results are good until the next call. If no recording can be made, it computes each time.

    Args:
        compute: what is recorded.
        pool: where recordings of one stream have their memory, which they can share as they never run at once.
    """

    def __init__(self, compute: Compute, pool: Any) -> None:
        self._compute = compute
        self._pool = pool
        self._replay: Callable[[Tensor], tuple[Tensor, ...]] | None = None
        self._refused = False

    def __call__(self, network: Any, batch: Tensor) -> tuple[Tensor, ...]:
        """Return what is computed of the batch.

        Raises:
            torch.OutOfMemoryError: if the memory does not suffice for recording.
        """
        if self._replay is None and not self._refused:
            try:
                self._replay = recorded(self._compute, network, batch, self._pool)
            except RuntimeError as error:  # what ends a recording that has failed may raise an error of its own
                if shortage := next((one for one in (error, error.__context__) if one and is_shortage(one)), None):
                    raise torch.OutOfMemoryError(str(shortage)) from error
                log.warning(
                    "no recording can be made of the network, computing slowly", action="not_recorded", error=str(error)
                )
                self._refused = True
        return self._replay(batch) if self._replay else self._compute(network, batch)


def recorded(compute: Compute, network: Any, batch: Tensor, pool: Any) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Record on the current stream and return what replays it.

    Raises:
        torch.OutOfMemoryError: if there is not as much memory as that takes.
        RuntimeError: if that cannot be recorded, or gives other bits.
    """
    static = batch.clone()
    wanted = _tried(compute, network, static)
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream(batch.device)
    # Other threads may use the GPU meanwhile, to ask how much memory it has, say.
    with _unfilled(), torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        results = compute(network, static)

    def replay(batch: Tensor) -> tuple[Tensor, ...]:
        static.copy_(batch)
        graph.replay()
        return results

    if not all(map(torch.equal, replay(batch), wanted)):
        raise RuntimeError("its recording gives other bits than itself")
    return replay


def _tried(compute: Compute, network: Any, batch: Tensor) -> tuple[Tensor, ...]:
    """Compute without recording, which makes libraries ready, and see that there is as much memory once more.

    A recording in which memory runs out leaves PyTorch's allocator in disorder: that must not come to pass.
    """
    torch.cuda.synchronize(batch.device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(batch.device)
    torch.cuda.reset_peak_memory_stats(batch.device)
    results = compute(network, batch)
    torch.cuda.synchronize(batch.device)
    needed = torch.cuda.max_memory_reserved(batch.device) - before
    torch.cuda.empty_cache()
    torch.empty(needed, dtype=torch.uint8, device=batch.device)  # given back by what begins the recording
    return results


@contextmanager
def _unfilled() -> Iterator[None]:
    """Leave new memory as it is: PyTorch's deterministic algorithms fill it, so that whoever reads it finds out."""
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before
