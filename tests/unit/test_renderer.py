"""The teacher draws what it is asked for, any pixel by itself."""

from __future__ import annotations

import pytest
import torch

from checkpoints.train import canvas
from checkpoints.train.attributes import CATEGORIES, LAYERS, SCENES, STYLES, VALUES
from checkpoints.train.data import draw_attributes, lattice
from checkpoints.train.renderer import SIZE, Attributes, Renderer
from checkpoints.train.scenes import SCENERY

NAMES = [name for name, _ in CATEGORIES]


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_scene_has_a_shape_for_every_layer_and_choice() -> None:
    assert len(SCENERY) == len(SCENES)
    assert {len(scene) for scene in SCENERY} == {len(LAYERS)}
    assert {len(layer) for scene in SCENERY for layer in scene} == {4}


def test_a_pixel_is_the_same_alone_as_in_the_whole_picture(renderer: Renderer, generator: torch.Generator) -> None:
    attributes = draw_attributes(6, generator)
    rows, columns = lattice(6, 16, generator)
    some = renderer.render(attributes, rows, columns).picture
    whole = renderer.pictures(attributes)
    for index in range(6):
        expected = whole[index, :, rows[index], columns[index]].T
        assert (some[index] - expected).abs().max() < 1e-4


def test_pictures_are_in_range_and_poses_are_missing_for_empty_layers_alone(
    renderer: Renderer, generator: torch.Generator
) -> None:
    drawn = renderer.render(draw_attributes(64, generator), *lattice(64, 16, generator))
    assert drawn.picture.min() >= 0
    assert drawn.picture.max() <= 1
    assert drawn.content.isfinite().all()
    empty = drawn.poses.isnan().any(dim=2)
    assert empty.any()
    assert (drawn.coverage.amax(dim=2)[empty] < 1e-3).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "wording"])
def test_every_choice_is_seen_in_the_picture(renderer: Renderer, name: str) -> None:
    size = dict(CATEGORIES)[name]
    choices = torch.zeros(size, len(NAMES), dtype=torch.int64)
    choices[:, NAMES.index(name)] = torch.arange(size)
    rows, columns = lattice(size, 8, torch.Generator().manual_seed(1))
    drawn = renderer.render(
        Attributes(choices, torch.full((size, VALUES), 0.3)), rows[:1].expand(size, -1), columns[:1].expand(size, -1)
    ).picture
    for first in range(size):
        for second in range(first):
            assert (drawn[first] - drawn[second]).abs().mean() > 0.002


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_a_canvas_repeats_without_a_seam(style: int) -> None:
    fields = canvas.build()[style]
    assert fields.shape == (SIZE, SIZE, canvas.CHANNELS)
    steps = (fields[1:] - fields[:-1]).abs().mean(dim=(1, 2))
    assert (fields[0] - fields[-1]).abs().mean() < 1.3 * steps.max() + 1e-6
