"""What a ranking says in MLflow: its curves, gates and order. Pure."""

from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from statistics import fmean

from orchestrator.grid.cells import Cell
from orchestrator.tracking.content import notes
from orchestrator.tracking.content.figures import round_values, write_heatmap
from orchestrator.tracking.content.states import (
    Artifact,
    Curves,
    Point,
    RunState,
    json_artifact,
    table_artifact,
)
from orchestrator.tracking.content.tables import gate_table, score_table
from orchestrator.tracking.content.values import digest, nested, reason_of, rounded, strings
from orchestrator.views.grid_view import RankingView
from trsp.records import RoundRecord


def ranking_state(rank: RankingView, sample: Cell | None) -> RunState:
    """``sample``: any cell that shares the ranking; it knows the selector's settings."""
    params = {
        "model": rank.model,
        "selector": rank.selector,
        "gate_l1": rank.gate_l1,
        "seed": rank.seed,
        "depth": rank.depth,
    }
    settings = nested("selector", sample.selector) if sample else {}
    return RunState(
        kind="rank",
        key=rank.key,
        name=f"{rank.name} ranking",
        status=rank.status,
        reason=reason_of(rank),
        params=strings({**params, **settings}),
        tags={"trsp.order": ", ".join(map(str, rank.order))},
        curves={} if not rank.rounds else _ranking_curves(rank),
        artifacts=_ranking_artifacts(rank),
        note=notes.ranking_note(rank),
    )


def _ranking_curves(rank: RankingView) -> Curves:
    """Summaries by round, and each round's profile over the layers: a metric whose step is the layer.

    MLflow makes a section of charts from what stands before the slash, in alphabetical order: summaries come first.
    """
    at = list(accumulate(round_.seconds for round_ in rank.rounds))
    kind = "gate" if any(round_.gate_steps for round_ in rank.rounds) else "score"
    curves: dict[str, list[Point]] = {}
    for round_, at_s in zip(rank.rounds, at, strict=True):
        for name, value in _summaries(round_, kind).items():
            curves.setdefault(f"by_round/{name}", []).append(
                Point(round_.round, rounded(value), at_s)
            )
    for round_ in _profiles(rank):
        profile = sorted(round_values(round_).items())
        curves[f"{kind}_by_layer/round_{round_.round:02d}"] = [
            Point(layer, value) for layer, value in profile
        ]
    return {name: tuple(points) for name, points in curves.items()}


def _summaries(round_: RoundRecord, kind: str) -> dict[str, float]:
    found = {f"smallest_{kind}": min(round_.scores.values())} if round_.scores else {}
    if round_.margin is not None:
        found["margin"] = round_.margin
    if round_.lm_loss:
        found["lm_loss"] = fmean(round_.lm_loss)
    return found


def _profiles(rank: RankingView) -> Iterator[RoundRecord]:
    """Rounds whose values are news: a one-shot selector repeats its scores in every round."""
    known: dict[int, float] = {}
    for round_ in rank.rounds:
        values = round_values(round_)
        if any(known.get(layer) != value for layer, value in values.items()):
            yield round_
        known = values


def _ranking_artifacts(rank: RankingView) -> tuple[Artifact, ...]:
    version = digest(rank.order)
    rounds = [
        {"round": r.round, "layer": r.layer, "margin": r.margin, "seconds": rounded(r.seconds)}
        for r in rank.rounds
    ]
    order = {
        "model": rank.model,
        "selector": rank.selector,
        "key": rank.key,
        "order": rank.order,
        "rounds": rounds,
    }
    found = [json_artifact("order.json", order, version)] if rank.rounds else []
    if any(round_.gate_steps for round_ in rank.rounds):
        found.append(table_artifact("gates.json", gate_table(rank), version))
    if any(round_.scores for round_ in rank.rounds):
        found.append(table_artifact("scores.json", score_table(rank), version))
    if any(round_values(round_) for round_ in rank.rounds):
        found.append(Artifact("heatmap.png", version, partial(write_heatmap, rank)))
    return tuple(found)
