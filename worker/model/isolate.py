"""One bad seed fails alone: a batch that raises is halved until the culprits stand alone.

For k bad seeds among n that costs about k log n calls more. Knows nothing of what generates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from worker.model.generated import Generated

Seed = TypeVar("Seed")
"""A seed, or whatever stands for one."""


def generate_each(
    generate: Callable[[Sequence[Seed]], list[Generated]], seeds: Sequence[Seed]
) -> list[Generated | Exception]:
    """Return a result or an error for each seed, in order; ``generate`` takes seeds and returns one result for each."""
    try:
        results = generate(seeds)
        if len(results) != len(seeds):
            raise RuntimeError(f"the model returned {len(results)} results for {len(seeds)} seeds")
    except Exception as error:  # whatever a model raises is that seed's failure
        if len(seeds) == 1:
            return [error]
        half = len(seeds) // 2
        return [*generate_each(generate, seeds[:half]), *generate_each(generate, seeds[half:])]
    return [*results]
