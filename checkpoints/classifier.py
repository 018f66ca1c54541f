"""The judge: a small convolutional network that names scene and style, trained on the teacher's pictures alone.

It sees every second pixel both ways, [B, 3, 128, 128] in [0, 1], of drawn and of generated pictures alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from checkpoints.train.attributes import SCENES, STYLES
from checkpoints.train.data import draw_attributes, lattice
from checkpoints.train.renderer import SIZE, Renderer

STRIDE = 2
SIDE = SIZE // STRIDE
CHANNELS = (24, 48, 64, 96)


class Classifier(nn.Module):
    """Four strided convolutions and a linear map."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((3, *CHANNELS), CHANNELS, strict=False):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(16 * CHANNELS[-1], len(SCENES) + len(STYLES))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the scenes [B, 6] and of the styles [B, 6]."""
        logits: Tensor = self.head(self.features(pictures - 0.5))
        return logits[:, : len(SCENES)], logits[:, len(SCENES) :]

    @torch.inference_mode()
    def judge(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of scene and style, int64 [B] each, of pictures [B, 3, 256, 256]."""
        seen = [self(part[:, :, ::STRIDE, ::STRIDE]) for part in torch.split(pictures, 32)]
        return torch.cat([scene.argmax(1) for scene, _ in seen]), torch.cat([style.argmax(1) for _, style in seen])


def _drawn(renderer: Renderer, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    attributes = draw_attributes(count, generator)
    rendering = renderer.render(attributes, *lattice(count, STRIDE, generator))
    return rendering.picture.transpose(1, 2).reshape(-1, 3, SIDE, SIDE), attributes["scene"], attributes["style"]


def train_classifier(*, steps: int, batch: int = 32, seed: int = 7) -> tuple[Classifier, float, float]:
    """Train a classifier; return it with its accuracy in scene and style on drawn pictures that it has not seen."""
    torch.manual_seed(seed)
    renderer, generator, model = Renderer(), torch.Generator().manual_seed(seed), Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in trange(steps, desc="classifier", unit="step"):
        pictures, scene, style = _drawn(renderer, batch, generator)
        scenes, styles = model(pictures)
        loss = functional.cross_entropy(scenes, scene) + functional.cross_entropy(styles, style)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    model.eval()
    hits, trials = torch.zeros(2), min(steps, 10)
    for _ in range(trials):
        pictures, scene, style = _drawn(renderer, batch, generator)
        with torch.inference_mode():
            scenes, styles = model(pictures)
        hits += torch.stack([(scenes.argmax(1) == scene).sum(), (styles.argmax(1) == style).sum()])
    scene_accuracy, style_accuracy = (hits / (trials * batch)).tolist()
    return model, scene_accuracy, style_accuracy
