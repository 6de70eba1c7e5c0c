"""The page of a grid's run in MLflow, as Markdown: the answer under each budget, then all cells.

Pure. What costs time is made again only where a number has changed that it rests on: a large grid
has a new view every second, and a new number seldom.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from orchestrator.pictures.album import Picture
from orchestrator.redact import redact
from orchestrator.report.choice_tables import limits_text, margin
from orchestrator.report.printing import format_number
from orchestrator.tracking.content.leaderboard import leaderboard_fragment
from orchestrator.tracking.content.metrics import shown_name, shown_value
from orchestrator.tracking.content.states import RUN_ID
from orchestrator.tracking.content.values import registered_name
from orchestrator.views.answers import answers
from orchestrator.views.budget import Choice
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status
from trsp.records import lower_is_better

MOST_CHARACTERS = 5500  # of answers and cells; MLflow takes 8000 in all
SIZES = ("params", "bytes", "latency_ms")
_MARGIN = "\N{NO-BREAK SPACE}" * 2


@dataclass(frozen=True)
class Known:
    """A view by the numbers that its answers rest on: equal where these are the same objects."""

    marks: tuple[int, ...]
    view: GridView = field(compare=False)  # keeps these objects, so that no other has their ids

    @classmethod
    def of(cls, view: GridView) -> "Known":
        """Return what is known in a view."""
        records = (
            record
            for part in view.parts
            for record in (part.checkpoint, part.evaluation, part.measurement)
        )
        return cls((*map(id, records), id(view.budgets), id(view.metrics)), view)


@lru_cache(maxsize=4)
def known_answers(known: Known) -> tuple[Choice, ...]:
    """Return the choice under each of a grid's budgets."""
    return answers(known.view)


def picture_path(picture: Picture) -> str:
    """Return where a picture lies among the artifacts of the grid's run."""
    return f"pictures/{picture.name}.png"


def grid_note(view: GridView, experiment_id: str, pictures: Sequence[Picture] = ()) -> str:
    """Return what a grid's run says of it, with links to MLflow's pages of the experiment.

    ``pictures``: among the run's artifacts, to be shown.
    """
    counts = {status: sum(cell.status is status for cell in view.cells) for status in Status}
    cells = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    links = _links(view, experiment_id, bool(pictures)) if experiment_id else ()
    head = " · ".join((f"{len(view.cells)} cells: {cells}", *links))
    return redact("\n\n".join(filter(None, (head, _body(Known.of(view)), *map(_image, pictures)))))


def _image(picture: Picture) -> str:
    """A picture in the note: MLflow's server gives artifacts out by this address."""
    address = f"get-artifact?path={picture_path(picture)}&run_uuid={RUN_ID}"
    return f"![{picture.title}]({address})"


def _links(view: GridView, experiment_id: str, is_over: bool) -> Iterator[str]:
    """Yield links from the run's own page: within MLflow, wherever its server is reached."""
    for mode, name in (("", "Leaderboard"), ("CHART", "Charts")):
        yield f"[{name}]({leaderboard_fragment(experiment_id, view.key, mode)})"
    artifacts = f"#/experiments/{experiment_id}/runs/{RUN_ID}/artifacts"
    yield f"[Report]({artifacts}/report.html)" if is_over else f"[Tables]({artifacts})"
    for model in dict.fromkeys(registered_name(cell.cell.model.name) for cell in view.cells):
        yield f"[Registry: {model}](#/models/{model})"


@lru_cache(maxsize=4)
def _body(known: Known) -> str:
    """The answers and the table of cells, as many of these as there is room for."""
    view = known.view
    choices = known_answers(known)
    summary = "\n".join(map(_in_short, choices))
    text = "\n\n".join(filter(None, (summary, _answers_text(choices), *_warnings(choices))))
    ranked = _best_first(view)
    if not ranked:
        return text
    parts: tuple[CellView | DenseView, ...] = (*view.dense, *ranked)
    head = _table_head(view)
    rows = chain(head, (_row(part, view) for part in parts))
    shown = _as_many_as_fit(rows, MOST_CHARACTERS - len(text))
    left = len(head) + len(parts) - len(shown)
    more = f"\n\n{left} more are in the leaderboard and in `cells.json`." if left else ""
    return f"{text}\n\n### Cells with scores, best first\n\n" + "\n".join(shown) + more


def _as_many_as_fit(rows: Iterable[str], characters: int) -> list[str]:
    shown: list[str] = []
    for row in rows:
        characters -= len(row) + 1
        if characters < 0:
            break
        shown.append(row)
    return shown


def _in_short(choice: Choice) -> str:
    """The answer in a line of a list: MLflow hides all but the first lines of a note."""
    within, best = limits_text(choice.budget), choice.best
    if best is None:
        return f"- {within}: {_nearest(choice)}"
    tie = choice.comparison is not None and choice.comparison.tie and choice.runner_up
    next_to = f", a tie with {_code(tie.cell.name)}" if tie else ""
    score = f"{choice.metric} {_score(best, choice.metric)}"
    return f"- {within}: **{_code(best.cell.name)}**, {score}{next_to}"


def _nearest(choice: Choice) -> str:
    """Why nothing is best under a budget."""
    if choice.nearest is None:
        return "no cell is known yet"
    percent = 100 * ((choice.overshoot or 1) - 1)
    return f"nothing; nearest is {_code(choice.nearest.cell.name)}, {percent:.1f} % above"


def _answers_text(choices: Sequence[Choice]) -> str:
    if not choices:
        return ""
    head = ("within", "best", "score", *map(shown_name, SIZES), "against the next")
    rows = [*_head(*head), *(_joined(_answer(choice)) for choice in choices)]
    return "### Best under each budget\n\n" + "\n".join(rows)


def _answer(choice: Choice) -> Iterator[str]:
    yield limits_text(choice.budget)
    if choice.best is None:
        yield _nearest(choice)
        yield from ("", *("" for _ in SIZES), "")
        return
    yield f"**{_code(choice.best.cell.name)}**"
    yield f"{choice.metric} {_score(choice.best, choice.metric)}"
    yield from (_number(choice.best, name) for name in SIZES)
    if choice.runner_up is None:
        yield "no other meets this budget"
    else:
        yield f"{_code(choice.runner_up.cell.name)}: {margin(choice)}"


def _warnings(choices: Sequence[Choice]) -> Iterator[str]:
    for warning in dict.fromkeys(each for choice in choices for each in choice.warnings):
        yield f"Warning: {warning}."


def _best_first(view: GridView) -> list[CellView]:
    """The cells that have the grid's first score, best first."""
    if not view.metrics:
        return []
    first = view.metrics[0]
    sign = 1 if lower_is_better(first) else -1
    values = [
        (sign * value, cell) for cell in view.cells if (value := _value(cell, first)) is not None
    ]
    return [cell for _, cell in sorted(values, key=lambda pair: pair[0])]


def _table_head(view: GridView) -> list[str]:
    head = ("cell", "removed layers", *view.metrics, *map(shown_name, SIZES))
    return _head(*head)


def _row(part: CellView | DenseView, view: GridView) -> str:
    if isinstance(part, CellView):
        name = _code(part.cell.name)
        layers = ", ".join(map(str, sorted(part.layers or ())))
    else:
        name, layers = f"{_code(part.model.name)} unpruned", ""
    scores = (_score(part, name) for name in view.metrics)
    return _joined((name, layers, *scores, *(_number(part, name) for name in SIZES)))


def _score(part: CellView | DenseView, name: str) -> str:
    """A score, with its standard error where that is known."""
    value = _value(part, name)
    score = part.evaluation.scores.get(name) if part.evaluation else None
    error = "" if score is None or score.stderr is None else f" ± {score.stderr:.2g}"
    return "" if value is None else f"{format_number(value)}{error}"


def _number(part: CellView | DenseView, name: str) -> str:
    value = _value(part, name)
    return "" if value is None else format_number(shown_value(name, value))


def _value(part: CellView | DenseView, name: str) -> float | None:
    return part.metrics().get(name)


def _code(name: str) -> str:
    """A name as it is, whatever Markdown would make of its characters."""
    return f"`{name.replace('`', '').replace('|', '/')}`"


def _head(*names: str) -> list[str]:
    """The first two lines of a table."""
    return [_joined(names), f"|{' --- |' * len(names)}"]


def _joined(texts: Iterator[str] | Sequence[str]) -> str:
    """A row of a table; MLflow draws no margins, so each cell ends with blanks that stay."""
    return f"| {' | '.join(f'{text}{_MARGIN}' for text in texts)} |"
