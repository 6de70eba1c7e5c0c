"""The order in which stages are started: by paths and sizes where these are known, else by kind."""

from dataclasses import dataclass

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.order import PRIORITY, Expected, Shares, order
from orchestrator.stages.stage_specs import SCHEDULED, StageKind, StageSpec

ON_GPU = Layout(gpus=1)
CLUSTER = Capacity(64, 8, memory_bytes=1000)
BUSY = [(Layout(ranks=8, gpus=1), 1000.0)]  # so that no short path is critical


@dataclass(frozen=True)
class Need:
    """A stage that is needed; ``after``: of its path, where that is longer than the stage."""

    name: str
    seconds: float | None = None
    after: float | None = None
    layout: Layout = ON_GPU
    kind: StageKind = StageKind.TRANSFER
    reads: tuple[str, ...] = ()


def ordered(*needs: Need, left: list[tuple[Layout, float]] | None = None) -> list[str]:
    """Return the names of the needs in the order in which they are started."""
    specs = [StageSpec(need.kind, {"name": need.name}, reads=need.reads) for need in needs]
    by_key = {spec.key: need for spec, need in zip(specs, needs, strict=True)}
    known = {key: need for key, need in by_key.items() if need.seconds is not None}
    expected = Expected(
        {key: need.seconds or 0.0 for key, need in known.items()},
        {key: need.after or need.seconds or 0.0 for key, need in known.items()},
        left or [],
    )
    found = order(specs, lambda spec: by_key[spec.key].layout, CLUSTER, expected)
    return [spec.inputs["name"] for spec in found]


def test_the_longest_path_comes_first_where_it_is_critical() -> None:
    needs = Need("short", 10), Need("unlocks much", 1, after=100), Need("middle", 60)
    assert ordered(*needs) == ["unlocks much", "middle", "short"]


def test_what_takes_most_of_the_cluster_comes_first_where_no_path_is_critical() -> None:
    needs = Need("small", 20), Need("smaller", 19), Need("gang", 10, layout=Layout(4, gpus=1))
    assert ordered(*needs, left=BUSY) == ["gang", "small", "smaller"]


def test_memory_counts_as_room_where_it_is_what_a_stage_takes_most_of() -> None:
    offloaded = Need("offloaded", 10, layout=Layout(gpus=1, memory_bytes=500))
    gang = Need("gang", 10, layout=Layout(2, gpus=1))
    assert ordered(gang, offloaded, left=BUSY) == ["offloaded", "gang"]


def test_a_deletion_from_trained_weights_that_takes_no_gpu_comes_before_all_others() -> None:
    prune = Need("prune", 1, layout=Layout(), kind=StageKind.PRUNE, reads=("transfer",))
    assert ordered(Need("long", 100), prune) == ["prune", "long"]


def test_a_deletion_from_the_original_weights_has_its_turn() -> None:
    """Nothing is kept for it in the store, and the scores may follow in its room."""
    prune = Need("prune", 30, layout=Layout(), kind=StageKind.PRUNE)
    assert ordered(prune, Need("long", 100)) == ["long", "prune"]


def test_a_deletion_that_takes_a_gpu_has_its_turn_as_any_other() -> None:
    prune = Need("prune", 1, kind=StageKind.PRUNE)
    assert ordered(prune, Need("long", 100)) == ["long", "prune"]


def test_what_nothing_is_known_of_comes_first_in_the_order_of_kinds() -> None:
    evaluate = Need("evaluate", kind=StageKind.EVALUATE)
    rank = Need("rank", kind=StageKind.RANKING)
    assert ordered(Need("long", 100), evaluate, rank) == ["rank", "evaluate", "long"]


def test_where_nothing_is_known_at_all_the_order_is_that_of_kinds() -> None:
    needs = [Need(kind.value, kind=kind) for kind in sorted(SCHEDULED)]
    assert ordered(*needs) == [kind.value for kind in PRIORITY]


def test_equal_stages_stay_in_the_order_of_the_grid() -> None:
    names = [f"cell {number}" for number in (3, 1, 2, 9, 5)]
    assert ordered(*(Need(name, 5) for name in names)) == names


def test_a_share_is_that_of_what_a_layout_takes_most_of() -> None:
    shares = Shares(CLUSTER)
    assert shares.of(Layout(ranks=2, gpus=1)) == 0.25
    assert shares.of(Layout(cpus=32)) == 0.5
    assert shares.of(Layout(memory_bytes=750)) == 0.75
    assert Shares(Capacity(4)).of(Layout(memory_bytes=750)) == 0.25, "memory is not known"
