"""The folders of both packages ("rooms"), which others each may import, and what it does import.

Read by ast, so nothing is imported. A room is a folder of modules, or a module beside the folders.
The table is checked by tests/test_imports.py and drawn by docs/draw_rooms.py.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("trsp", "orchestrator")

# Who may import whom, at load or later. ``trsp.`` is left out of the library's own rows.
_LIBRARY: Mapping[str, str] = {
    "errors": "",
    "outages": "",
    "chunk_sizes": "",
    "records": "",
    "versions": "",
    "config": "errors",
    "architecture": "config errors",
    "data": "config errors outages",
    "distributed": "config errors",
    "losses": "chunk_sizes config errors",
    "progress_lines": "distributed",  # where lines are shown, not where they are told
    "batch_sizes": "architecture chunk_sizes distributed",
    "checkpoints": "architecture config distributed errors outages records",
    "evaluation": """architecture batch_sizes chunk_sizes config data distributed errors
        progress_lines records""",
    "gates": "architecture",
    "surgery": "architecture errors",
    "training": "architecture config distributed errors",
    "engine": "architecture checkpoints config distributed errors losses training",
    "selection": """architecture batch_sizes config distributed engine errors gates losses
        progress_lines records surgery training""",
    "transfer": """architecture config engine errors gates losses progress_lines records surgery
        training""",
    "language_model": """architecture checkpoints config data errors evaluation progress_lines
        records selection surgery training transfer""",
}
_ORCHESTRATOR: Mapping[str, str] = {
    "redact": "",
    "parallel": "",
    "scratch": "",
    "grid": "grid.fitting trsp.architecture trsp.config trsp.errors",
    "stages": """grid trsp.architecture trsp.checkpoints trsp.config trsp.data trsp.errors
        trsp.evaluation""",
    "coordination": "",
    "processes": "scratch",
    "store.copies": "scratch trsp.errors",
    "store": """coordination parallel redact stages store.copies trsp.errors trsp.outages
        trsp.records trsp.training""",
    "kept_grids": "coordination grid parallel redact stages store views trsp.errors",
    "store.logs": "coordination redact store",
    "layouts": """grid stages store trsp.architecture trsp.chunk_sizes trsp.config trsp.engine""",
    "views": "grid grid.fitting stages store trsp.config trsp.errors trsp.records",
    "pictures": "grid views trsp.records",
    "execution": """coordination layouts scratch stages store store.logs trsp.architecture
        trsp.checkpoints trsp.config trsp.data trsp.distributed trsp.engine trsp.errors
        trsp.evaluation trsp.progress_lines trsp.records trsp.selection trsp.surgery trsp.training
        trsp.transfer trsp.versions""",
    "execution.apart": "execution processes stages store",
    "report": """doctor.findings grid grid.fitting layouts redact stages views trsp.checkpoints
        trsp.records""",
    "report.looking": "kept_grids redact report store.logs views",
    "report.standing": "coordination redact report stages views trsp.records",
    "tracking.content": "grid pictures redact report report.page trsp.config trsp.records views",
    "doctor.findings": "trsp.errors",
    "doctor.probes": """doctor.findings grid layouts scratch stages store store.copies
        trsp.architecture trsp.config trsp.distributed trsp.errors trsp.transfer trsp.versions""",
    "doctor": """doctor.findings doctor.probes execution grid layouts ray_backend redact stages
        store tracking trsp.checkpoints trsp.config trsp.errors""",
    "ray_backend.growth": "layouts",
    "ray_backend.sharing": "execution execution.apart layouts newest store",
    "ray_backend": """execution execution.apart grid layouts processes ray_backend.growth
        ray_backend.sharing ray_backend.submission scratch stages store trsp.distributed
        trsp.errors trsp.evaluation""",
    "scheduler.chains": "layouts stages",
    "scheduler.faults": "layouts store views trsp.errors",
    "scheduler.placement": "layouts",
    "scheduler.expected": "grid layouts stages views",
    "scheduler.wished": "coordination stages views",
    "scheduler": """coordination execution grid layouts parallel scheduler.chains scheduler.expected
        scheduler.faults scheduler.placement scheduler.wished stages store store.logs views""",
    "tracking": "redact scratch tracking.content views trsp.errors",
    "newest": "",
    "card_writer": "report stages store views trsp.errors",
    "scheduler.simulation": "grid layouts scheduler scheduler.chains stages",
    "projection_turn": "scheduler store",
    "listeners": "card_writer kept_grids newest redact store tracking views trsp.errors",
    "driver": """execution interrupts keeping listeners parallel projection_turn redact report
        report.standing scheduler scratch stages store tracking tracking.pages trsp.errors views""",
    "run": """costs driver execution grid kept_grids layouts ray_backend report report.cost stages
        store tracking trsp.errors views watching""",
    "commands": "grid trsp.versions",
    "commands.running": """commands commands.looking costs doctor doctor.findings first_grid grid
        grid.reference interrupts kept_grids ray_backend.submission redact report report.cost
        report.looking run stages store trsp.errors views""",
    "commands.looking": """commands grid interrupts kept_grids redact report report.looking
        report.page report.standing run store store.logs tracking.pages trsp.errors views
        watching""",
    "commands.keeping": """commands commands.looking export keeping redact report report.cost
        report.keeping run store trsp.errors""",
    "export": "export.gguf_file redact report stages store views trsp.errors",
    "export.gguf_file": "trsp.errors",
    "keeping": """coordination grid kept_grids parallel scheduler stages store store.copies
        tracking trsp.errors views""",
    "report.keeping": "keeping kept_grids report report.cost",
    "grid.reference": "grid",
    "grid.fitting": "trsp.architecture trsp.config",
    "first_grid": """doctor.probes grid grid.fitting layouts scheduler.expected stages
        trsp.architecture trsp.checkpoints trsp.config trsp.data trsp.distributed trsp.errors""",
    "interrupts": "",
    "watching": "coordination kept_grids report.standing stages store trsp.errors views",
    "ray_backend.submission": "grid redact scratch trsp.errors",
    "tracking.pages": "redact scratch tracking tracking.content trsp.errors",
    "costs": """grid kept_grids layouts parallel scheduler.expected scheduler.simulation stages
        store trsp.architecture trsp.checkpoints trsp.errors""",
    "report.cost": "costs report",
    "report.page": "grid pictures redact report stages trsp.config trsp.records views",
    "cli": """commands commands.keeping commands.looking commands.running interrupts redact
        trsp.errors""",
    "__main__": "cli",
}


def _full(package: str, table: Mapping[str, str]) -> dict[str, frozenset[str]]:
    def name(room: str) -> str:
        return room if room.startswith("trsp.") else f"{package}.{room}"

    return {name(room): frozenset(map(name, allowed.split())) for room, allowed in table.items()}


MAY_IMPORT: Mapping[str, frozenset[str]] = {
    **_full("trsp", _LIBRARY),
    "trsp": frozenset(),  # its names are loaded at first use
    **_full("orchestrator", _ORCHESTRATOR),
    "orchestrator": frozenset(),
}


@dataclass(frozen=True)
class Imports:
    """What a module imports when it is loaded (``eager``), and within functions (``lazy``).

    Dotted names; ``from a.b import c`` counts as ``a.b.c`` (c may be a module).
    """

    eager: frozenset[str]
    lazy: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.eager | self.lazy


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(source: str) -> Imports:
    """The imports of a module's source; those for the type checker alone do not count."""
    eager: set[str] = set()
    lazy: set[str] = set()

    def visit(node: ast.AST, into: set[str]) -> None:
        into.update(_imported(node))
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = (
            node.body
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            else ()
        )
        for child in ast.iter_child_nodes(node):
            if child not in typing_only:
                visit(child, lazy if function else into)

    visit(ast.parse(source), eager)
    return Imports(frozenset(eager), frozenset(lazy))


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS: Mapping[str, Path] = {
    _module_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


@cache
def modules() -> Mapping[str, Imports]:
    """The imports of every module of ours."""
    return {module: imports_of(path.read_text(encoding="utf-8")) for module, path in PATHS.items()}


def parents(name: str) -> Iterator[str]:
    """``a.b.c`` -> ``a``, ``a.b``: packages whose ``__init__`` runs first."""
    parts = name.split(".")
    yield from (".".join(parts[:i]) for i in range(1, len(parts)))


def ours(imported: Iterable[str]) -> set[str]:
    """Modules of ours named by these imports: of each, the longest name that is one."""
    found = set()
    for name in imported:
        candidates = [candidate for candidate in (*parents(name), name) if candidate in PATHS]
        found |= set(candidates[-1:])
    return found


def room_of(module: str) -> str:
    """The folder that a module lies in; a module beside the folders is a room of its own."""
    folder = ".".join(PATHS[module].relative_to(ROOT).parent.parts)
    return module if folder in PACKAGES else folder


@cache
def room_imports() -> Mapping[str, set[str]]:
    """Every room, and the other rooms that its modules import."""
    found: dict[str, set[str]] = {room_of(module): set() for module in PATHS}
    for module, imports in modules().items():
        found[room_of(module)] |= {room_of(name) for name in ours(imports.all)} - {room_of(module)}
    return found
