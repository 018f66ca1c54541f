"""The mapping from seed to latent, written down so that others can reproduce it."""

from __future__ import annotations

import pytest
import torch

from producer.contract import MAX_SEED
from worker.model.latents import draw_latents

VECTORS = {
    0: [
        *(
            -2.3104116916656494,
            -0.3732508718967438,
            -1.0608166456222534,
            0.999509334564209,
            -0.884024977684021,
            -1.275546908378601,
            -0.6232245564460754,
            -0.8664416074752808,
        ),
        *(),
    ],
    42: [
        *(
            0.29955628514289856,
            0.24237778782844543,
            0.28320738673210144,
            -0.23294220864772797,
            0.6711532473564148,
            0.7817673683166504,
            -1.7903079986572266,
            -1.7484028339385986,
        ),
        *(),
    ],
    4294967295: [
        *(
            -1.9843318462371826,
            1.2137963771820068,
            -1.642679214477539,
            -0.7783643007278442,
            1.5970791578292847,
            -0.07570081949234009,
            1.3335883617401123,
            -0.26191258430480957,
        ),
        *(),
    ],
}


@pytest.mark.parametrize("seed", VECTORS)
def test_the_first_values_of_a_latent_are_those_written_down(seed: int) -> None:
    drawn = draw_latents([seed], 1024)[0, :8]
    assert drawn.tolist() == torch.tensor(VECTORS[seed], dtype=torch.float32).tolist()


def test_a_row_depends_on_its_own_seed_alone() -> None:
    together = draw_latents([5, 7, 5], 64)
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[1], draw_latents([7], 64)[0])
    assert not torch.equal(together[0], together[1])


def test_latents_are_standard_normal_float32() -> None:
    drawn = draw_latents(range(200), 1024)
    assert drawn.dtype is torch.float32
    assert abs(drawn.mean().item()) < 0.01
    assert abs(drawn.std().item() - 1) < 0.01


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    draw_latents([MAX_SEED], 8)
    assert torch.equal(torch.rand(3), wanted)
