"""The model without a queue: seeds in, Pillow pictures and captions out, in this process.

from worker.inference import MultimodalGenerator

generator = MultimodalGenerator()
image, caption = generator.generate(42)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from producer.seeds import check_seed, check_seeds
from worker.encode import describe
from worker.model.engine import Engine
from worker.model.generated import Generated
from worker.model.loaded import Precision

BATCH_SIZE = 32


class MultimodalGenerator:
    """Generates a picture and a caption from each integer seed.

    Args:
        checkpoint_path: the weights.
        tokenizer_path: the tokenizer that belongs to them.
        latent_dim, vocab_size: what the checkpoint must have.
        device: ``"cuda"``, ``"cuda:0"``, ``"cpu"``, or ``None`` to detect it.
        architecture: ``"module:Class"`` of your own network, looked for beside the checkpoint and in the working
            directory; ``None`` for the built-in one.
        precision: ``"fp32"`` or ``"bf16"``.

    Raises:
        CheckpointError: a file is missing, damaged or of another architecture, or ``latent_dim`` or ``vocab_size``
            contradicts it (the message names both numbers).
        ArchitectureError, TokenizerError, DeviceError: likewise.
    """

    def __init__(
        self,
        checkpoint_path: str | Path = "checkpoints/best.pt",
        tokenizer_path: str | Path = "checkpoints/tokenizer.json",
        latent_dim: int = 1024,
        vocab_size: int = 1266,
        device: str | None = None,
        *,
        architecture: str | None = None,
        precision: Precision = "fp32",
    ) -> None:
        self._engine = Engine(
            checkpoint_path,
            tokenizer_path,
            device=device,
            architecture=architecture,
            precision=precision,
            latent_dim=latent_dim,
            vocab_size=vocab_size,
        )
        self.model = self._engine.info
        self.device = str(self._engine.device)

    def generate(self, seed: int) -> tuple[Image.Image, str]:
        """Return the RGB picture and the caption of ``seed``.

        Raises:
            InvalidSeed: if it is not an integer from 0 to 4294967295.
        """
        image, caption, _ = self.generate_with_metadata(seed)
        return image, caption

    def generate_with_metadata(self, seed: int) -> tuple[Image.Image, str, dict[str, Any]]:
        """Return the picture, the caption, and the facts: seed, caption, latent_dim, image_size, device, model."""
        (generated,) = self._engine.generate([check_seed(seed)])
        return self._present(generated)

    def generate_batch(self, seeds: range | Iterable[int]) -> list[tuple[Image.Image, str, dict[str, Any]]]:
        """Return picture, caption and facts of each seed, in order; each is what the seed gives alone.

        Raises:
            InvalidSeed: naming the first value that is wrong; nothing is generated then.
        """
        checked = check_seeds(seeds)
        batches = (checked[start : start + BATCH_SIZE] for start in range(0, len(checked), BATCH_SIZE))
        return [self._present(generated) for batch in batches for generated in self._engine.generate(batch)]

    def _present(self, generated: Generated) -> tuple[Image.Image, str, dict[str, Any]]:
        facts = describe(generated.seed, generated.caption, self.model)
        return Image.fromarray(generated.pixels), generated.caption, {**facts, "device": self.device}
