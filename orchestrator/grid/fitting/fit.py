"""What ``ratios: auto`` comes to for one model: a number of layers for each budget. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.grid.fitting.sizes import Line

Limits = Mapping[str, float]  # by the metric that each limits


@dataclass(frozen=True)
class Fit:
    """The fewest layers that must go for each budget, and what people are told of it."""

    model: str
    layers: int
    removed: Mapping[str, int]  # by budgets that make a cell
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of layers to remove, each once, from the fewest up."""
        return tuple(sorted(set(self.removed.values())))

    def budgets(self, removed: int) -> str:
        """Return the names of the budgets that ask for this number."""
        return ", ".join(name for name, count in self.removed.items() if count == removed)

    def lines(self) -> tuple[str, ...]:
        """Return a line for each budget: how many layers go for it."""
        return tuple(
            f"{self.model}: budget {name} takes {count} of {self.layers} layers"
            for name, count in self.removed.items()
        )


def fit(model: str, layers: int, lines: Mapping[str, Line], budgets: Mapping[str, Limits]) -> Fit:
    """Return what the budgets, by their names, ask of a model of these sizes.

    A limit on something without a line (a latency of which nothing is known) asks for nothing;
    where nothing else does either, that is refused.
    """
    removed: dict[str, int] = {}
    notes: list[str] = []
    refusals: list[str] = []
    unknown: list[str] = []
    for name, limits in budgets.items():
        known = {metric: limit for metric, limit in limits.items() if metric in lines}
        if len(known) < len(limits):
            unknown.append(_unknown_latency(model, name))
        if not known:
            continue
        needed = fewest(lines, known)
        if needed >= layers:
            refusals.append(
                f"no ratio of {model} meets budget {name}: {least_in_words(lines, layers, known)}; "
                f"raise the limit, or leave {model} out"
            )
        elif needed:
            removed[name] = needed
        else:
            notes.append(f"{model} is within budget {name} as it is: that makes no cell")
    (notes if removed or notes else refusals).extend(unknown)
    return Fit(model, layers, removed, tuple(notes), tuple(refusals))


def fewest(lines: Mapping[str, Line], limits: Limits) -> int:
    """Return the fewest layers that must go to keep all of the limits: maybe more than all."""
    return max(lines[metric].fewest(limit) for metric, limit in limits.items())


def least_in_words(lines: Mapping[str, Line], layers: int, limits: Limits) -> str:
    """Return why limits cannot be kept: how large the model of one layer is, and what is allowed.

    ``with 1 of 30 layers left it still has 33M parameters where 10M parameters are allowed``
    """
    reasons = [
        f"{size_in_words(metric, lines[metric].after(layers - 1))} where "
        f"{size_in_words(metric, limit)} are allowed"
        for metric, limit in limits.items()
        if lines[metric].fewest(limit) >= layers
    ]
    return f"with 1 of {layers} layers left it still has {' and '.join(reasons)}"


def size_in_words(metric: str, value: float) -> str:
    """Return a size for people: ``30.1M parameters``, ``0.94 GB of weights``, ``410 ms``."""
    match metric:
        case "params":
            return f"{_short(value, ' kMB')} parameters"
        case "bytes":
            return f"{_short(value, ' kMG')}B of weights"
        case "kv_bytes_per_token":
            return f"{value:,.0f} bytes of keys and values per token"
        case _:
            return f"{value:,.4g} ms of latency"


def _short(value: float, units: str) -> str:
    """Return four digits of a number in its largest unit: powers of 1000, the first without one."""
    step = 0
    while step + 1 < len(units) and value >= 1000:
        value, step = value / 1000, step + 1
    return f"{value:.4g}{units[step]}".replace(" ", "")


def _unknown_latency(model: str, budget: str) -> str:
    return (
        f"budget {budget} limits a latency, which ratios: auto cannot know of {model}: write the "
        f"unpruned model's beside it, models: [{{source: ..., latency_ms: 410}}], as "
        "`trsp measure` shows it"
    )
