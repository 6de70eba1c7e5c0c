"""Lines on stderr for whoever waits for a long call, and for nobody else."""

from collections.abc import Callable
from itertools import count

import pytest
import torch

from tests.tiny import tiny_model, tiny_tokenizer
from trsp import BlockInfluenceSettings, GatesSettings, HealSettings, LanguageModel, SlebSettings
from trsp import progress_lines as lines
from trsp.selection import rank_layers

BLOCKS = torch.randint(0, 256, (4, 16), generator=torch.Generator().manual_seed(0))
Call = Callable[[LanguageModel], object]


@pytest.fixture
def lm() -> LanguageModel:
    return LanguageModel(tiny_model("llama"), tiny_tokenizer(), "tiny")


def test_a_call_of_less_than_10_s_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    now = iter((0.0, 5.0, 9.9))
    with lines.showing("rank", lambda: next(now)):
        lines.tick(1, 2)
        lines.tick(2, 2)
    assert capsys.readouterr().err == ""


def test_a_longer_call_says_every_10_s_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = count(0.0, 6.0)
    with lines.showing("rank", lambda: next(now)):
        for done in range(1, 6):
            lines.tick(done, 5)
    assert capsys.readouterr().err == "rank: step 2 of 5, 12 s\nrank: step 4 of 5, 24 s\n"


CALLS: dict[str, tuple[Call, str]] = {
    "gates": (
        lambda lm: lm.rank(BLOCKS, 2, GatesSettings(steps_per_round=2)),
        "rank: round 2 of 2, step 2 of 2, loss ",
    ),
    "sleb": (
        lambda lm: lm.rank(BLOCKS, 1, SlebSettings()),
        "rank: round 1 of 1, pass 4 of 4, ",
    ),
    "block_influence": (
        lambda lm: lm.rank(BLOCKS, 1, BlockInfluenceSettings()),
        "rank: block 4 of 4, ",
    ),
    "transfer": (
        lambda lm: lm.transfer([1], BLOCKS, HealSettings(steps=2, learning_rate=1e-3)),
        "transfer: step 2 of 2, loss ",
    ),
}


@pytest.mark.parametrize(("call", "last"), CALLS.values(), ids=CALLS)
def test_every_long_call_of_the_library_ticks(
    lm: LanguageModel,
    call: Call,
    last: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "EVERY_S", 0.0)
    call(lm)
    printed = [line for line in capsys.readouterr().err.splitlines() if " of " in line]
    assert printed[-1].startswith(last)


def test_what_a_stage_of_a_grid_calls_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "EVERY_S", 0.0)
    list(rank_layers(tiny_model("llama"), BLOCKS, SlebSettings(), depth=1))
    assert capsys.readouterr().err == ""


def test_who_asks_is_told_every_2_s_and_of_the_end() -> None:
    now = count(0.0, 0.7)
    told: list[str] = []
    with lines.telling(told.append, lambda: next(now)):
        for done in range(1, 8):
            lines.tick(done, 7, loss=3.0)
    assert told == [f"step {done} of 7, loss 3" for done in (1, 4, 7)]


def test_what_is_told_begins_with_the_part_that_it_is_of() -> None:
    told: list[str] = []
    with lines.telling(told.append), lines.part_of("perplexity/wiki (1 of 2)"):
        lines.tick(4, 4, "window")
    assert told == ["perplexity/wiki (1 of 2), window 4 of 4"]
