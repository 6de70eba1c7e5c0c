"""What runs, what has failed and what waits, each thing once, as rows of texts. Pure.

Cells share stages: a stage that several wait for is one row, named by the first of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.coordination.news import DriverNews
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status

REFERENCE = "reference scores"  # what an unpruned model is worked on for


@dataclass(frozen=True)
class Running:
    """A stage that computes now."""

    name: str  # of the cell, ranking or unpruned model, and how many others share it
    stage: str
    progress: str = ""
    seconds: float | None = None  # since it began; None where nobody says so
    where: str = ""


@dataclass(frozen=True)
class Group:
    """Parts of a grid of which the same is to be said."""

    names: tuple[str, ...]
    what: str  # of them: a stage, and why it failed, or what they wait for
    stage: str = ""

    @property
    def subject(self) -> str:
        """Their names in few words: ``1/6 sleb none and 2 more``."""
        return and_more(self.names)


def and_more(names: Sequence[str]) -> str:
    """Return the first name, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def part_name(part: CellView | DenseView | RankingView) -> str:
    """Return the name of a cell or ranking, or of an unpruned model as ``NAME dense``."""
    match part:
        case CellView():
            return part.cell.name
        case DenseView():
            return f"{part.model.name} dense"
        case _:
            return part.name


def part_stage(part: CellView | DenseView) -> str:
    """Return the kind of stage that a cell is in; empty for an unpruned model."""
    return part.stage if isinstance(part, CellView) else ""


def running(view: GridView, news: DriverNews, now: float) -> tuple[Running, ...]:
    """Return the stages that compute now, in order of their start.

    ``news`` is what the driver says; where it says nothing, all stages that are at work count.
    ``now``: seconds since the epoch.
    """
    if not news.working:
        return tuple(_at_work(view))
    of_key = _names_by_key(view)
    return tuple(
        Running(
            and_more(of_key.get(key, [key])),
            key.partition("-")[0],
            work.progress or _rounds_done(view, key),
            max(0.0, now - work.since),
            work.where,
        )
        for key, work in news.working.items()
    )


def _names_by_key(view: GridView) -> dict[str, list[str]]:
    """Return the names of those that a stage is for, by its key; a ranking's own name."""
    names: dict[str, list[str]] = {ranking.key: [ranking.name] for ranking in view.rankings}
    for part in view.parts:
        for kind, key in part.stage_keys.items():
            if kind != StageKind.RANKING:
                names.setdefault(key, []).append(part_name(part))
    return names


def _at_work(view: GridView) -> Iterator[Running]:
    """Yield the stages that are at work by the view alone, each once."""
    for ranking in view.rankings:
        if ranking.status is Status.RUNNING:
            yield Running(ranking.name, StageKind.RANKING, layers_ranked(ranking))
    sharing: dict[tuple[str, str], list[str]] = {}
    for part in view.parts:
        stage = part_stage(part)
        if part.status is Status.RUNNING and stage != StageKind.RANKING:
            key = part.stage_keys.get(stage, part_name(part))
            sharing.setdefault((key, stage or REFERENCE), []).append(part_name(part))
    for (_, stage), names in sharing.items():
        yield Running(and_more(names), stage)


def _rounds_done(view: GridView, key: str) -> str:
    """Return how many layers a ranking has ranked; "" for any other stage."""
    for ranking in view.rankings:
        if ranking.key == key:
            return layers_ranked(ranking)
    return ""


def layers_ranked(ranking: RankingView) -> str:
    """Return ``2 of 6 layers ranked``, of those that this grid needs."""
    return f"{ranking.ranked} of {ranking.depth} layers ranked"


def failed(view: GridView) -> tuple[Group, ...]:
    """Return what has failed or was ended, those of one stage and reason together."""
    return _grouped(view, (Status.FAILED, Status.KILLED))


def waiting(view: GridView) -> tuple[Group, ...]:
    """Return what waits, those of one stage and reason together, the most first."""
    groups = _grouped(view, (Status.WAITING,))
    return tuple(sorted(groups, key=lambda group: -len(group.names)))


def _grouped(view: GridView, statuses: Sequence[Status]) -> tuple[Group, ...]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for part in view.parts:
        if part.status in statuses:
            stage = part_stage(part) or REFERENCE
            grouped.setdefault((stage, part.reason), []).append(part_name(part))
    return tuple(Group(tuple(names), what, stage) for (stage, what), names in grouped.items())


def counts(view: GridView) -> Mapping[Status, int]:
    """Return how many cells are in each status, of those statuses that there are."""
    found = dict.fromkeys(Status, 0)
    for cell in view.cells:
        found[cell.status] += 1
    return {status: number for status, number in found.items() if number}
