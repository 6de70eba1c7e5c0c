"""Rankings, published round by round."""

import pytest

from orchestrator.store.files import UnreadableRecordError
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import RANKING, stage_folder, unclaimed
from trsp.records import RoundRecord


def published(store: Store, *numbers: int) -> None:
    for number in numbers:
        store.rankings.publish(
            unclaimed(RANKING),
            RoundRecord(round=number, layer=9 - number, scores={0: 0.5, 1: 0.25}, lm_loss=(2.5,)),
        )


def test_rounds_come_back_in_order_from_where_they_are_asked_for(store: Store) -> None:
    published(store, 0, 1, 2)
    assert [record.layer for record in store.rankings.rounds(RANKING)] == [9, 8, 7]
    assert [record.round for record in store.rankings.rounds(RANKING, start=2)] == [2]
    assert store.rankings.rounds(RANKING, start=3) == ()
    assert store.rankings.rounds(RANKING)[0] == RoundRecord(
        round=0, layer=9, scores={0: 0.5, 1: 0.25}, lm_loss=(2.5,)
    )
    assert not store.stages.done(RANKING)  # a ranking is never finished, only deep enough


def test_rounds_end_at_the_first_gap_or_torn_file(local: Store) -> None:
    published(local, 0, 1, 3)
    assert len(local.rankings.rounds(RANKING)) == 2
    published(local, 2)
    (stage_folder(local, RANKING) / "rounds" / "001.json").write_text('{"round": 1, "la')
    assert len(local.rankings.rounds(RANKING)) == 1


def test_a_round_of_another_shape_ends_the_rounds_and_says_which_file(local: Store) -> None:
    published(local, 0, 1)
    file = stage_folder(local, RANKING) / "rounds" / "001.json"
    file.write_text('{"round": 1, "layer": 8, "scores": {"1": null}}')
    found = local.rankings.published(RANKING)
    assert [record.round for record in found.rounds] == [0]
    assert f"{file} cannot be read: scores.1: Input should be a valid number" in str(
        found.unreadable
    )
    with pytest.raises(UnreadableRecordError):
        local.rankings.rounds(RANKING)


def test_a_round_with_a_nan_is_not_published(local: Store) -> None:
    record = RoundRecord.model_construct(round=0, layer=1, scores={1: float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        local.rankings.publish(unclaimed(RANKING), record)
    assert local.rankings.rounds(RANKING) == ()
