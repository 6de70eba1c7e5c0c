"""A ranking that is preempted and resumed ends as if nothing had happened."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trsp.training.resumable import BLOCKS, after, never, resumable_model, weights
from trsp.config import EngineSettings, GatesSettings
from trsp.errors import PreemptedError
from trsp.records import RoundRecord
from trsp.selection import rank_layers
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots

ENGINE = EngineSettings(zero_stage=0, micro_batch=2)
STEPS = {"learning_rate": 0.03, "blocks_per_step": 4, "steps_per_round": 4}
TRAINED_WEIGHTS = {"train_weights": True, "weights_learning_rate": 1e-3}


def ranked(
    settings: GatesSettings,
    done: list[RoundRecord],
    place: Path,
    told: Iterator[bool] | None = None,
) -> tuple[dict[str, Tensor], int]:
    """Publish rounds into ``done``; return the model's weights, and how many steps it took."""
    model, steps = resumable_model(), []
    told = told or never()

    def leaving() -> bool:
        steps.append(1)
        return next(told)

    progress = Progress(FolderSnapshots(place), leaving=leaving)
    with contextlib.suppress(PreemptedError):
        for record in rank_layers(
            model, BLOCKS, settings, depth=3, done=tuple(done), engine=ENGINE, progress=progress
        ):
            done.append(record.model_copy(update={"seconds": 0}))
    return weights(model), len(steps)


@dataclass(frozen=True)
class Undisturbed:
    """A ranking that nothing has disturbed: three rounds of four steps."""

    settings: GatesSettings
    rounds: list[RoundRecord]
    weights: dict[str, Tensor]


def undisturbed(settings: GatesSettings, place: Path) -> Undisturbed:
    rounds: list[RoundRecord] = []
    found, _ = ranked(settings, rounds, place)
    return Undisturbed(settings, rounds, found)


@pytest.fixture(
    scope="module",
    params=[{}, TRAINED_WEIGHTS, {"reset_each_round": True}],
    ids=["gates alone", "weights too", "gates anew"],
)
def wanted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    settings = GatesSettings.model_validate(STEPS | request.param)
    return undisturbed(settings, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(
    "left_after", [2, 4, 6, 11], ids=["within a round", "at its end", "in the next", "in the last"]
)
def test_a_resumed_ranking_is_bit_equal_and_repeats_nothing(
    tmp_path: Path, wanted: Undisturbed, left_after: int
) -> None:
    """However weights and gates are trained, no published round is trained again."""
    resumed: list[RoundRecord] = []
    ranked(wanted.settings, resumed, tmp_path, after(left_after))
    assert len(resumed) == (left_after - 1) // 4
    found, steps = ranked(wanted.settings, resumed, tmp_path)
    assert resumed == wanted.rounds
    assert steps == 12 - left_after
    assert all(torch.equal(found[name], wanted.weights[name]) for name in wanted.weights)


def test_weights_are_restored_from_a_snapshot_older_than_the_last_published_round(
    tmp_path: Path,
) -> None:
    settings = GatesSettings.model_validate(STEPS | TRAINED_WEIGHTS)
    wanted = undisturbed(settings, tmp_path / "undisturbed")
    ranked(settings, [], tmp_path / "left", after(3))
    published = wanted.rounds[:2]
    found, steps = ranked(settings, published, tmp_path / "left")
    assert (published, steps) == (wanted.rounds, 9)
    assert all(torch.equal(found[name], wanted.weights[name]) for name in wanted.weights)
