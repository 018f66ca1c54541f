"""The layered decoder: what is read off a latent, and pixels that do not depend on each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from worker.errors import CheckpointError
from worker.model.codes import LatentCodes
from worker.model.config import DEMO_CODES, PRESETS, ModelConfig
from worker.model.latents import draw_latents
from worker.model.layers import LayeredPicture
from worker.model.network import SeedNetwork, initialize


@pytest.fixture(scope="module")
def network() -> SeedNetwork:
    made = SeedNetwork(PRESETS["demo"])
    initialize(made, 0)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def codes(network: SeedNetwork) -> LatentCodes:
    assert network.codes is not None
    return network.codes


def test_the_projection_is_orthonormal_so_attributes_are_independent(codes: LatentCodes) -> None:
    rows = codes.projection.double()
    assert (rows @ rows.T - torch.eye(len(rows))).abs().max() < 1e-5


def test_choices_are_evenly_spread_and_values_uniform(codes: LatentCodes) -> None:
    read = codes(draw_latents(range(3000), 1024))
    for name, size in DEMO_CODES.choices:
        share = torch.bincount(read.choices[name], minlength=size) / 3000
        assert (share - 1 / size).abs().max() < 0.03
    assert (read.values.mean(dim=0) - 0.5).abs().max() < 0.03
    assert read.values.min() > 0
    assert read.values.max() < 1
    assert read.hot.sum(dim=1).unique().tolist() == [len(DEMO_CODES.choices)]
    assert read.features.shape == (3000, DEMO_CODES.features)


def test_a_pixel_is_the_same_alone_as_in_the_whole_picture(network: SeedNetwork, codes: LatentCodes) -> None:
    read = codes(draw_latents([1, 2, 3], 1024))
    picture = network.picture
    assert isinstance(picture, LayeredPicture)
    whole = picture(read)
    rows, columns = torch.randint(0, 256, (2, 3, 50), generator=torch.Generator().manual_seed(0))
    some = picture.paint(read, rows, columns).picture
    for index in range(3):
        assert (whole[index, :, rows[index], columns[index]].T - some[index]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codes": None}, "needs codes"),
        ({"codes": {"choices": [["scene", 6], ["style", 6]], "values": 4}}, "detail, mirror, time, variant"),
        ({"codes": {**DEMO_CODES.model_dump(), "values": 1}}, "two values"),
        ({"codes": {**DEMO_CODES.model_dump(), "choices": [["scene", 1]]}}, "greater than or equal to 2"),
        ({"picture": {"kind": "oil"}}, "kind"),
    ],
)
def test_a_config_that_cannot_be_drawn_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        ModelConfig.read({**PRESETS["demo"].model_dump(mode="json"), **changes})
