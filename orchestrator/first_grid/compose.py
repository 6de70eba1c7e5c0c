"""The text of a first grid file, for one model, text and machine. Writes nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from textwrap import fill
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.first_grid.examples import schema_comment
from orchestrator.first_grid.machine import Machine
from orchestrator.first_grid.sizes import Sizes, fitting_sizes, hours_of, within_text
from orchestrator.first_grid.texts import characters_of, found_text, split_of
from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.budgets import Budget
from orchestrator.grid.cells import ModelInfo
from orchestrator.grid.fitting.fit import Fit, fit, size_in_words
from orchestrator.grid.fitting.sizes import size_lines
from orchestrator.grid.shorthand import shortest
from orchestrator.grid.yaml_file import explain
from orchestrator.stages.model_info import planned_info
from trsp.config import TextSource
from trsp.data.text_files import file_rows
from trsp.errors import InvalidInputError

_MEMORY_PART = 0.8  # of what is free: the rest is for Ray, MLflow and everybody else
_STAGES_AT_ONCE = 4  # on CPUs, about, of a first grid's trainings


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for. ``limits``: of a budget each, as written: ("max_params", "5B")."""

    model: str
    text: Path
    held_out: Path | None = None
    limits: tuple[tuple[str, str], ...] = ()
    column: str | None = None
    hours: float = 2.0


@dataclass(frozen=True)
class FirstGrid:
    """A grid file, and what people are told of it."""

    content: str
    hours: float
    notes: tuple[str, ...]


def first_grid(wanted: Wanted, machine: Machine) -> FirstGrid:
    """Return a grid file that this machine does in about the hours that are wanted.

    InvalidInputError (or UnreachableError, of the hub) for a model that cannot be pruned, a text
    that cannot be read, and budgets that no number of layers meets, or that ask for nothing.
    """
    info = known_model(wanted.model)
    assert info.shape is not None  # its config.json was read
    fitted = _fitted(info, wanted)
    removed = fitted.counts if fitted else tuple(count for _, count in _shares(info.layers))
    sizes = fitting_sizes(
        info.shape, removed, machine, wanted.hours, positions=info.learned_positions
    )
    texts = _texts(wanted, sizes)
    hours = hours_of(texts.sizes, info.shape, removed, machine)
    values = {
        "schema": schema_comment(),
        "name": info.name,
        "layers": info.layers,
        "size": size_in_words("params", info.shape.params),
        "machine": machine.text,
        "time": time_in_words(hours),
        "model": _yaml(info.source),
        "budgets": _budget_lines(wanted, fitted) if fitted else [],
        "ratios": f"[{', '.join(text for text, _ in _shares(info.layers))}]",
        "sizes": texts.sizes,
        "calibration": _text(texts.calibration),
        "evaluation": _text(texts.evaluation),
        "remark": fill(texts.remark, 98, initial_indent="# ", subsequent_indent="# "),
        "resources": _resources(machine),
    }
    taken = (*fitted.lines(), *fitted.notes) if fitted else ()
    return FirstGrid(_rendered(values), hours, (*taken, texts.remark))


def known_model(source: str) -> ModelInfo:
    """Return what is known of a model by its config.json, which the hub is asked for if need be.

    InvalidInputError: it is not there or cannot be pruned. UnreachableError: the hub gives no
    answer.
    """
    from trsp.checkpoints.model_source import local_folder, read_config

    folder = local_folder(source)
    entry = ModelEntry.model_validate({"source": str(folder.absolute()) if folder else source})
    known = planned_info(entry)
    if known is None:
        read_config(source)  # it is in the hub's cache after that
        known = planned_info(entry)
    assert known is not None
    return known


def time_in_words(hours: float) -> str:
    """Return a time as roughly as it is known: ``4 minutes``, ``1.5 hours``, ``3 days``."""
    if hours < 0.9:
        minutes = max(1, round(60 * hours))
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"{hours:.2g} hours" if hours < 48 else f"{hours / 24:,.0f} days"


@dataclass(frozen=True)
class _Texts:
    """The texts of a grid, and the sizes for which they are long enough."""

    calibration: TextSource
    evaluation: TextSource
    sizes: Sizes
    remark: str  # on what the scores say


def _texts(wanted: Wanted, sizes: Sizes) -> _Texts:
    text = found_text(wanted.text, wanted.column)
    if wanted.held_out is not None:
        if wanted.held_out.absolute() == wanted.text.absolute():
            raise InvalidInputError(
                f"--held-out is the same file as --text, {wanted.text}; leave it out: a part of "
                "the text is then held out"
            )
        held_out = found_text(wanted.held_out, wanted.column)
        sizes = within_text(sizes, characters_of(file_rows(text), sizes.calibration_characters))
        return _Texts(
            text, held_out, sizes, "Nothing is trained on the text that checkpoints are scored by."
        )
    windows = sizes.windows * sizes.window_characters
    split = split_of(file_rows(text), sizes.calibration_characters, windows)
    if split.documents and split.held_out >= sizes.window_characters:
        return _Texts(
            text.model_copy(update={"max_documents": split.documents}),
            text.model_copy(
                update={"name": f"{text.name}-rest", "skip_documents": split.documents}
            ),
            within_text(sizes, split.calibration),
            f"Calibration reads the first {split.documents} documents of the text, the scores read "
            "the others.",
        )
    seen = text.model_copy(update={"name": f"{text.name}-seen"})
    return _Texts(
        text,
        seen,
        within_text(sizes, split.calibration + split.held_out),
        "NOT HELD OUT: the text is too short to be parted, so that training has seen what scores "
        "are measured on; give another by --held-out FILE.",
    )


def _fitted(info: ModelInfo, wanted: Wanted) -> Fit | None:
    """Return what the budgets take of the model; None without any."""
    if not wanted.limits:
        return None
    assert info.shape is not None
    budgets = {each.alias: each.limits for each in _budgets(wanted)}
    lines = size_lines(info.shape, info.shape.weight_bytes("auto"))
    found = fit(info.name, info.layers, lines, budgets)
    if found.refusals or not found.removed:
        raise InvalidInputError("\n".join(found.refusals or map(_too_large, found.notes)))
    return found


def _too_large(note: str) -> str:
    return f"{note}; give a smaller budget"


def _budgets(wanted: Wanted) -> tuple[Budget, ...]:
    try:
        return tuple(Budget.model_validate({name: value}) for name, value in wanted.limits)
    except ValidationError as error:
        raise InvalidInputError(explain(error, "budget")) from None


def _budget_lines(wanted: Wanted, fitted: Fit) -> Sequence[str]:
    """Return the budgets as YAML, with what each takes as a comment."""
    lines = []
    for (name, value), budget in zip(wanted.limits, _budgets(wanted), strict=True):
        taken = fitted.removed.get(budget.alias, 0)
        remark = f"takes {taken} of {fitted.layers} layers" if taken else "is met as it is"
        lines.append(f"{_yaml({name: value}):<28}# {remark}")
    return lines


def _shares(layers: int) -> list[tuple[str, int]]:
    """Return the ratios of a grid without budgets, and the layers that each removes."""
    if layers < 10:
        return [(f"1/{layers}", 1)]
    return [("10%", int(0.1 * layers + 0.5)), ("20%", int(0.2 * layers + 0.5))]


def _resources(machine: Machine) -> str:
    """Return what stages may take of the machine, as YAML."""
    if machine.gpu_bytes:
        gpu_gb = min(machine.gpu_bytes) // 10**9
        memory = f", gpu_memory: {gpu_gb}GB" if gpu_gb else ""
        return f"{{use_gpus: true, max_ranks: {len(machine.gpu_bytes)}{memory}}}"
    cpus = max(1, machine.cpus // _STAGES_AT_ONCE)
    memory_gb = int(_MEMORY_PART * machine.memory_bytes / 1e9)
    memory = f", memory: {memory_gb}GB" if memory_gb else ""
    return f"{{use_gpus: false, cpus_per_rank: {cpus}{memory}}}"


def _text(text: TextSource) -> str:
    """Return a text source as YAML, with what differs from the defaults."""
    return _yaml(text.model_dump(mode="json", exclude_defaults=True))


def _yaml(value: Any) -> str:
    """Return a value as YAML in one line."""
    dumped = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    )
    return dumped.removesuffix("\n").removesuffix("\n...")


def _rendered(values: dict[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # YAML, not HTML: nothing to escape
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    source = (files("orchestrator.first_grid") / "grid.yaml.j2").read_text(encoding="utf-8")
    environment.filters["shortest"] = shortest
    return environment.from_string(source).render(values)
