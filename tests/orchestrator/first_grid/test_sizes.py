"""How much a first grid computes, by what a machine does in the hours that are wanted."""

from itertools import pairwise

import pytest

from orchestrator.first_grid.machine import Machine
from orchestrator.first_grid.sizes import (
    CHARACTERS_PER_TOKEN,
    LADDER,
    fitting_sizes,
    hours_of,
    within_text,
)
from trsp.architecture.shape import model_shape

LAPTOP = Machine(cpus=2, memory_bytes=16 * 10**9)
SERVER = Machine(cpus=64, memory_bytes=10**12, gpu_bytes=(80 * 10**9,) * 8, gpu_name="H100")


def llama(hidden: int, layers: int) -> dict[str, object]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_attention_heads": hidden // 64,
        "num_hidden_layers": layers,
        "vocab_size": 32000,
    }


SMALL, LARGE = model_shape(llama(576, 30)), model_shape(llama(4096, 32))


def test_a_larger_step_of_the_ladder_takes_longer() -> None:
    hours = [hours_of(sizes, SMALL, (3, 6), LAPTOP) for sizes in LADDER]
    assert all(more > less for more, less in pairwise(hours))


def test_a_gate_may_travel_about_its_whole_way_in_a_round() -> None:
    assert all(0.7 < sizes.gate_steps * sizes.gate_rate < 1.4 for sizes in LADDER)


def test_gpus_do_the_published_sizes_of_a_large_model() -> None:
    assert fitting_sizes(LARGE, (8, 16), SERVER, hours=2) == LADDER[0]


@pytest.mark.parametrize("hours", [0.2, 1, 4])
def test_a_laptop_gets_what_it_does_in_time(hours: float) -> None:
    sizes = fitting_sizes(SMALL, (3,), LAPTOP, hours)
    assert hours_of(sizes, SMALL, (3,), LAPTOP) <= hours


def test_more_hours_are_more_work() -> None:
    short, long = (fitting_sizes(SMALL, (3,), LAPTOP, hours) for hours in (0.2, 4))
    assert LADDER.index(long) < LADDER.index(short)


def test_the_smallest_sizes_are_taken_where_even_these_take_longer() -> None:
    assert fitting_sizes(LARGE, (8,), LAPTOP, hours=0.01) == LADDER[-1]


def test_no_block_is_longer_than_the_model_can_read() -> None:
    assert fitting_sizes(SMALL, (3,), SERVER, hours=100, positions=1024).block_tokens == 1024


def test_a_short_text_makes_fewer_blocks() -> None:
    sizes = LADDER[-1]
    characters = 5 * sizes.block_tokens * CHARACTERS_PER_TOKEN
    assert within_text(sizes, characters).blocks == 5


def test_a_long_text_makes_no_more_blocks_than_are_wanted() -> None:
    assert within_text(LADDER[-1], 10**9) == LADDER[-1]
