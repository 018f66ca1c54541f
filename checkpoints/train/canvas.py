"""The canvas of each style: fields of 256x256 pixels that repeat without a seam, such as strokes, lines and tesserae.

A canvas says for each pixel where the content is looked up (a warp) and what the material does there (its texture).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZE = 256
CHANNELS = 6
"""Warp right and down in units of half a picture, then four textures, each about in [-1, 1]."""

Field = NDArray[np.float64]


def noise(seed: int, wavelength_x: float, wavelength_y: float | None = None) -> Field:
    """Return smooth periodic noise of unit variance, made by filtering white noise in the frequency domain."""
    white = np.random.default_rng(seed).standard_normal((SIZE, SIZE))
    frequency = np.fft.fftfreq(SIZE)
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    spread = (fx * wavelength_x) ** 2 + (fy * (wavelength_y or wavelength_x)) ** 2
    field = np.fft.ifft2(np.fft.fft2(white) * np.exp(-spread * 2)).real
    result: Field = (field - field.mean()) / field.std()
    return result


def _grid() -> tuple[Field, Field]:
    y, x = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5, indexing="ij")
    return x, y


def _wrapped(delta: Field) -> Field:
    return (delta + SIZE / 2) % SIZE - SIZE / 2


def _stroke_field(seed: int, count: int, length: float, width: float) -> tuple[Field, Field, Field, Field, Field]:
    """Lay strokes over each other; return the vector to the stroke's centre, across and along in [-1, 1], its tone."""
    rng = np.random.default_rng(seed)
    flow = 0.6 * noise(seed + 1, 90)
    x, y = _grid()
    to_x, to_y, across, along, tone = (np.zeros((SIZE, SIZE)) for _ in range(5))
    reach = int(length) + 2
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for cx, cy, t in zip(
        rng.uniform(0, SIZE, count), rng.uniform(0, SIZE, count), rng.standard_normal(count), strict=True
    ):
        iy, ix = (int(cy) + rows) % SIZE, (int(cx) + columns) % SIZE
        dx, dy = _wrapped(x[iy, ix] - cx), _wrapped(y[iy, ix] - cy)
        angle = flow[int(cy) % SIZE, int(cx) % SIZE]
        u, v = dx * math.cos(angle) + dy * math.sin(angle), -dx * math.sin(angle) + dy * math.cos(angle)
        inside = (np.abs(u / length) ** 3 + np.abs(v / width) ** 3) < 1
        hit = iy[inside], ix[inside]
        to_x[hit], to_y[hit] = -dx[inside], -dy[inside]
        across[hit], along[hit], tone[hit] = v[inside] / width, u[inside] / length, t
    return to_x, to_y, across, along, tone


def _oil() -> list[Field]:
    to_x, to_y, across, along, tone = _stroke_field(11, 9000, 7.0, 2.2)
    bristle = np.sin(across * 7.5 + tone * 9) * (1 - 0.4 * along**2)
    ridge = -across * 0.8 + 0.6 * (np.abs(across) > 0.8)
    return [0.45 * to_x, 0.45 * to_y, tone / 2, bristle, ridge, noise(12, 50) / 2]


def _watercolor() -> list[Field]:
    bleed_x, bleed_y = 2.2 * noise(21, 26) + 1.0 * noise(22, 9), 2.2 * noise(23, 26) + 1.0 * noise(24, 9)
    blooms = noise(25, 45) / 2 + 0.35 * np.abs(noise(26, 22))
    return [bleed_x, bleed_y, blooms / 1.2, noise(27, 3.0) / 2, noise(28, 14) / 2, noise(29, 7, 7) / 2]


def _lines(seed: int, period: float, bend: float, slope: float) -> Field:
    x, y = _grid()
    turns = SIZE / period
    phase = (y * round(turns) + x * round(turns * slope)) / SIZE + bend * noise(seed, 70, 40) / period
    wave: Field = np.cos(2 * math.pi * phase)
    return wave


def _engraving() -> list[Field]:
    still = np.zeros((SIZE, SIZE))
    wobble = noise(33, 12) / 2
    return [still, still, _lines(31, 4.27, 2.2, 0.0), _lines(32, 4.6, 2.0, 0.75), wobble, noise(34, 4) / 2]


def _woodcut() -> list[Field]:
    grain = _lines(41, 7.0, 3.5, 0.0)
    gouge = noise(42, 34, 5) / 2
    return [0.8 * noise(43, 12), 0.8 * noise(44, 12), grain, gouge, noise(45, 60, 3) / 2, noise(46, 20) / 2]


def _cells(seed: int, pitch: float, jitter: float, *, stagger: bool) -> tuple[Field, Field, Field, NDArray[np.int64]]:
    """Nearest point of a jittered lattice: the vector to it, the gap to the second nearest, and its number."""
    rng = np.random.default_rng(seed)
    n = round(SIZE / pitch / 2) * 2
    step = SIZE / n
    rows, columns = np.mgrid[0:n, 0:n]
    px = (columns + 0.5 + (0.5 * (rows % 2) if stagger else 0)) * step + rng.uniform(-jitter, jitter, (n, n)) * step
    py = (rows + 0.5) * step + rng.uniform(-jitter, jitter, (n, n)) * step
    x, y = _grid()
    near = np.full((3, SIZE, SIZE), 1e9)
    vector_x, vector_y = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    number = np.zeros((SIZE, SIZE), dtype=np.int64)
    for oy in (-2, -1, 0, 1, 2):
        for ox in (-2, -1, 0, 1, 2):
            r, c = ((y / step).astype(int) + oy) % n, ((x / step).astype(int) + ox) % n
            dx, dy = _wrapped(px[r, c] - x), _wrapped(py[r, c] - y)
            distance = np.hypot(dx, dy)
            first = distance < near[0]
            near[1] = np.where(first, near[0], np.minimum(near[1], distance))
            near[0] = np.where(first, distance, near[0])
            vector_x, vector_y = np.where(first, dx, vector_x), np.where(first, dy, vector_y)
            number = np.where(first, r * n + c, number)
    return vector_x, vector_y, near[1] - near[0], number


def _tones(seed: int, number: NDArray[np.int64]) -> Field:
    values: Field = np.random.default_rng(seed).uniform(-1, 1, int(number.max()) + 1)[number]
    return values


def _mosaic() -> list[Field]:
    to_x, to_y, gap, number = _cells(51, 7.1, 0.2, stagger=True)
    grout = np.clip((gap - 0.9) / 1.2, 0, 1) * 2 - 1
    bevel = np.clip(-(to_x + to_y) / 5, -1, 1)
    return [to_x, to_y, grout, _tones(52, number), _tones(53, number), bevel]


def _pointillism() -> list[Field]:
    to_x, to_y, _, number = _cells(61, 5.3, 0.2, stagger=True)
    radius = 2.5 + 0.4 * _tones(62, number)
    dot = np.clip((radius - np.hypot(to_x, to_y)) / 1.0 + 0.5, 0, 1) * 2 - 1
    return [to_x, to_y, dot, _tones(63, number), _tones(64, number), _tones(65, number)]


def build() -> Tensor:
    """Return float32 [styles, 256, 256, 6] in the order of attributes.STYLES."""
    styles = [_oil(), _watercolor(), _engraving(), _woodcut(), _mosaic(), _pointillism()]
    fields = np.stack([np.stack(style, axis=-1) for style in styles])
    fields[..., :2] *= 2 / SIZE
    return torch.from_numpy(fields).float()
