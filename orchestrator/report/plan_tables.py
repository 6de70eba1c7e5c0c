"""``trsp plan`` as text for people. Decides nothing; knows plans alone."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.report.plan import Plan, StageLayout
from orchestrator.report.printing import print_line


def print_plan(plan: Plan, file: str, out: Console) -> None:
    """Print what the grid in ``file`` would run, and what it cannot."""
    print_line(out, f"{file}: grid {plan.name}, {plan.cells} cells")
    out.print(_models_table(plan))
    for line in plan.budgets:
        print_line(out, line)
    out.print(_stages_table(plan))
    if plan.layouts:
        out.print(_layouts_table(plan))
    for layout in plan.layouts:
        if layout.refusal:
            print_line(out, f"cannot run: {layout.model} {layout.stage}: {layout.refusal}")
    if plan.share:
        print_line(out, f"takes at most {plan.share} at once (resources.share)")
    for warning in plan.warnings:
        print_line(out, f"warning: {warning}")
    for refusal in plan.refusals:
        print_line(out, f"refused: {file}: {refusal}")


def _models_table(plan: Plan) -> Table:
    table = Table("model", "layers", "removed", "cells")
    for model in plan.models:
        layers = str(model.layers or "unknown")
        removed = ", ".join(map(str, model.removed)) or "unknown"
        table.add_row(escape(model.name), layers, removed, str(model.cells))
    return table


def _stages_table(plan: Plan) -> Table:
    table = Table("stage", "one per cell", "shared: at most")
    for count in (*plan.stages, plan.rounds):
        table.add_row(count.kind, str(count.naive), str(count.at_most))
    return table


def _layouts_table(plan: Plan) -> Table:
    table = Table("model", "stage", "runs on", "GPU memory", "host memory")
    for layout in plan.layouts:
        table.add_row(*_layout_row(layout))
    return table


def _layout_row(layout: StageLayout) -> tuple[str, ...]:
    gpu = "-" if layout.gpu_bytes is None else f"{layout.gpu_bytes / 1e9:,.1f} GB"
    host = f"{layout.host_bytes / 1e9:,.1f} GB" if layout.host_bytes else "-"
    runs_on = escape(layout.layout) or "nothing that fits"
    return escape(layout.model), escape(layout.stage), runs_on, gpu, host
