"""Rankings, published round by round."""

from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import RANKING, stage_folder
from trsp.records import RoundRecord


def published(store: Store, *numbers: int) -> None:
    for number in numbers:
        store.rankings.publish(
            RANKING,
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
