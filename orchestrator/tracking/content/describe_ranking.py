"""What a ranking says in MLflow: its curves, gates and order. Pure."""

from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import fmean

from orchestrator.grid.cells import Cell
from orchestrator.pictures.gates import gates_over_rounds, round_values
from orchestrator.pictures.output import png
from orchestrator.tracking.content import notes
from orchestrator.tracking.content.run_tables import gate_table, score_table
from orchestrator.tracking.content.states import (
    Artifact,
    Curves,
    Point,
    RunState,
    json_artifact,
    table_artifact,
)
from orchestrator.tracking.content.values import digest, nested, reason_of, rounded, strings
from orchestrator.views.grid_view import RankingView, lowest_rate
from trsp.records import RoundRecord


def ranking_state(ranking: RankingView, sample: Cell | None) -> RunState:
    """Return what a ranking's run says.

    ``sample``: any cell that shares the ranking; it knows the selector's settings.
    """
    params = {
        "model": ranking.model,
        "selector": ranking.selector,
        "gate_l1": ranking.gate_l1,
        "seed": ranking.seed,
        "depth": ranking.depth,
    }
    settings = nested("selector", sample.selector) if sample else {}
    return RunState(
        kind="rank",
        key=ranking.key,
        name=f"{ranking.name} ranking",
        status=ranking.status,
        reason=reason_of(ranking),
        params=strings({**params, **settings}),
        tags={
            "trsp.order": ", ".join(map(str, ranking.order)),
            "trsp.rate_scale": f"{lowest_rate(ranking.rounds):g}" if ranking.slowed else "",
        },
        curves=_ranking_curves(ranking),
        artifacts=_ranking_artifacts(ranking),
        note=notes.ranking_note(ranking),
    )


def _ranking_curves(ranking: RankingView) -> Curves:
    """Summaries by round, and each round's profile over the layers: a metric whose step is a layer.

    MLflow makes a section of charts from what stands before the slash, in alphabetical order: the
    summaries come first.
    """
    kind = "gate" if _has_gates(ranking) else "score"
    curves: dict[str, list[Point]] = {}
    ends_s = accumulate(round_.seconds for round_ in ranking.rounds)
    for round_, end_s in zip(ranking.rounds, ends_s, strict=True):
        for name, value in _summaries(round_, kind).items():
            point = Point(round_.round, rounded(value), end_s)
            curves.setdefault(f"by_round/{name}", []).append(point)
    for round_ in _news(ranking):
        profile = sorted(round_values(round_).items())
        points = [Point(layer, value) for layer, value in profile]
        curves[f"{kind}_by_layer/round_{round_.round:02d}"] = points
    return {name: tuple(points) for name, points in curves.items()}


def _has_gates(ranking: RankingView) -> bool:
    return any(round_.gate_steps for round_ in ranking.rounds)


def _summaries(round_: RoundRecord, kind: str) -> dict[str, float]:
    """The numbers that stand for a round as a whole, as far as its selector has them."""
    summaries: dict[str, float] = {}
    if round_.scores:
        summaries[f"smallest_{kind}"] = min(round_.scores.values())
    if round_.margin is not None:
        summaries["margin"] = round_.margin
    if round_.lm_loss:
        summaries["lm_loss"] = fmean(round_.lm_loss)
    return summaries


def _news(ranking: RankingView) -> Iterator[RoundRecord]:
    """Rounds whose values are news: a one-shot selector repeats its scores in every round."""
    known: dict[int, float] = {}
    for round_ in ranking.rounds:
        values = round_values(round_)
        if any(known.get(layer) != value for layer, value in values.items()):
            yield round_
        known = values


def _ranking_artifacts(ranking: RankingView) -> tuple[Artifact, ...]:
    version = digest(ranking.order)
    artifacts: list[Artifact] = []
    if ranking.rounds:
        artifacts.append(json_artifact("order.json", _order(ranking), version))
    if _has_gates(ranking):
        artifacts.append(table_artifact("gates.json", partial(gate_table, ranking), version))
    if any(round_.scores for round_ in ranking.rounds):
        artifacts.append(table_artifact("scores.json", partial(score_table, ranking), version))
    if any(round_values(round_) for round_ in ranking.rounds):
        draw = partial(_write_heatmap, ranking)
        artifacts.append(Artifact("heatmap.png", partial(str, version), draw))
    return tuple(artifacts)


def _write_heatmap(ranking: RankingView, target: Path) -> None:
    target.write_bytes(png(gates_over_rounds(ranking)))


def _order(ranking: RankingView) -> dict[str, object]:
    rounds = [
        {
            "round": r.round,
            "layer": r.layer,
            "margin": r.margin,
            "rate_scale": r.rate_scale,
            "seconds": rounded(r.seconds),
        }
        for r in ranking.rounds
    ]
    return {
        "model": ranking.model,
        "selector": ranking.selector,
        "key": ranking.key,
        "order": ranking.order,
        "rounds": rounds,
    }
