"""Files as users write them: an architecture, a checkpoint, a tokenizer."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worker.model.engine import Engine
from worker.model.tokenizer import build_tokenizer

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, latent_dim, vocab_size, width=24):
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, 3 * 8 * 8))
        self.words = nn.Linear(latent_dim, 6 * vocab_size)
        self.vocab_size = vocab_size

    def decode(self, latents):
        pictures = torch.sigmoid(self.picture(latents)).view(-1, 3, 8, 8)
        tokens = self.words(latents).view(len(latents), 6, self.vocab_size)[:, :, 4:].argmax(-1) + 4
        return PICTURES, TOKENS


class Halves(Net):
    def decode_pictures(self, latents):
        return self.decode(latents)[0]

    def decode_tokens(self, latents):
        return self.decode(latents)[1]


class Configured(Net):
    def __init__(self, config):
        super().__init__(config["latent_dim"], config["vocab_size"], config["width"])


class Silent(nn.Module):
    pass


class Keeping(Net):
    def decode(self, latents):
        self.kept = latents.clone()
        pictures, tokens = super().decode(latents)
        latents.zero_()
        return torch.sigmoid(self.picture(self.kept)).view(-1, 3, 8, 8), tokens


class Greedy(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures, tokens[:, : 2 + int(tokens[0, 0]) % 4]


class Fourier(Net):
    def __init__(self, latent_dim, vocab_size):
        super().__init__(latent_dim, vocab_size)
        self.frequencies = torch.randn(8)

    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures * torch.sigmoid(self.frequencies), tokens


class Free(Net):
    def __init__(self, **settings):
        super().__init__(settings["latent_dim"], settings["vocab_size"], settings["width"])


class Outer(nn.Module):
    def __init__(self, latent_dim, vocab_size):
        super().__init__()
        self.model = Net(latent_dim, vocab_size)

    def decode(self, latents):
        return self.model.decode(latents)


class Tanh(Net):
    def decode_pictures(self, latents):
        return self.decode(latents)[0] * 2 - 1

    def decode_tokens(self, latents):
        return self.decode(latents)[1]


class Squeezing(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures.squeeze(0), tokens


class Noisy(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return (pictures + torch.rand_like(pictures)) / 2, tokens


class Social(Net):
    def decode(self, latents):
        pictures, tokens = super().decode(latents)
        return pictures, (tokens + torch.arange(len(tokens))[:, None]) % self.vocab_size
"""
CONFIG = {"latent_dim": 12, "vocab_size": 1266, "width": 24}


class Net(nn.Module):
    """The weights of the file above, for a test to save."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 192))
        self.words = nn.Linear(12, 6 * 1266)


class User:
    """Writes an architecture file, a checkpoint and a tokenizer, as a user would."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.folder, self.net = folder, Net()
        self.module = f"architecture_{uuid.uuid4().hex}"
        self.weights = folder / "best.pt"
        build_tokenizer().save(str(folder / "tokenizer.json"))
        self.write()
        self.save({"model_state_dict": self.net.state_dict(), "config": CONFIG})

    def write(self, pictures: str = "pictures", tokens: str = "tokens") -> None:
        source = SOURCE.replace("PICTURES", pictures).replace("TOKENS", tokens)
        (self.folder / f"{self.module}.py").write_text(source)

    def save(self, content: Any) -> None:
        torch.save(content, self.weights)

    def load(self, name: str = "Net", **options: Any) -> Engine:
        options = {"architecture": f"{self.module}:{name}", "device": "cpu", **options}
        return Engine(self.weights, self.folder / "tokenizer.json", **options)
