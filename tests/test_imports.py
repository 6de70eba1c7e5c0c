"""Import directions, as a table (ARCHITECTURE: trsp <- stage functions <- launcher <- controller <- run <- cli).

Read by ast, so nothing is imported: *eager* imports are those that run when the module is loaded, *all* adds those within
functions. A last test starts a real interpreter.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("trsp", "orchestrator")

# One foreign library, one place: where it may be imported at all. A name stands for itself and all that is below it.
PLACES = {
    "deepspeed": {"trsp.engine"},
    "lm_eval": {"trsp.evaluate"},
    "peft": {"trsp.lora"},
    "ray": {"orchestrator.ray_launcher", "orchestrator.gang", "orchestrator.preemption"},
    "mlflow": {"orchestrator.mlflow_tracker", "orchestrator.tracking"},
    "matplotlib": {"orchestrator.figures"},
    "pyarrow.fs": {"orchestrator.store"},
    "typer": {"orchestrator.cli"},
}

# What a module may never reach, however indirectly, when it is loaded.
HEAVY = {"torch", "transformers", "deepspeed", "datasets", "lm_eval"}
CLUSTER = {"ray", "mlflow", "pyarrow"}
FORBIDDEN = {
    **{f"trsp.{name}": HEAVY for name in ("config", "records", "errors", "families", "shape", "snapshots", "texts")},
    **{
        f"orchestrator.{name}": HEAVY | CLUSTER
        for name in (
            "shorthand",
            "gridfile",
            "grid",
            "cells",
            "expand",
            "stages",
            "views",
            "memory",
            "estimate",
            "plan",
            "policy",
            "budget",
            "leaderboard",
        )
    },
    **{f"orchestrator.{name}": HEAVY | {"ray", "mlflow"} for name in ("store", "look", "report", "tables", "cli")},
    **{f"orchestrator.{name}": HEAVY for name in ("controller", "run")},
    "orchestrator.run_stage": {"torch", "ray", "mlflow"},
    "orchestrator.lost": HEAVY | CLUSTER,
    "trsp.watchdog": HEAVY,
    "orchestrator.snapshots": HEAVY | {"ray", "mlflow"},
}

# Who alone may import a module of ours, at load or later.
IMPORTERS = {
    "orchestrator.cli": {"orchestrator.__main__"},
    "orchestrator.run": {"orchestrator.cli"},
    "orchestrator.controller": {"orchestrator.run"},
    "orchestrator.ray_launcher": {"orchestrator.run"},
}

# The driver's side of a run, from the command line down to Ray and MLflow.
DRIVER = ("cli", "run", "controller", "ray_launcher", "mlflow_tracker", "store", "plan", "report", "tables")


@dataclass(frozen=True)
class Imports:
    """Dotted names; ``from a.b import c`` counts as ``a.b.c`` (c may be a module)."""

    eager: frozenset[str]
    lazy: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.eager | self.lazy


def names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(source: str) -> Imports:
    eager: set[str] = set()
    lazy: set[str] = set()

    def visit(node: ast.AST, into: set[str] | None) -> None:
        if into is not None:
            into.update(names(node))
        for child in ast.iter_child_nodes(node):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body:
                continue
            visit(child, lazy if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else into)

    visit(ast.parse(source), eager)
    return Imports(frozenset(eager), frozenset(lazy))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Mapping[str, Imports] = {
    module_name(path): imports_of(path.read_text()) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def parents(name: str) -> Iterator[str]:
    """``a.b.c`` -> ``a``, ``a.b``: packages whose ``__init__`` runs first."""
    parts = name.split(".")
    yield from (".".join(parts[:i]) for i in range(1, len(parts)))


def ours(imported: Iterable[str]) -> set[str]:
    """Modules of ours named by these imports: the longest name that is one."""
    found = set()
    for name in imported:
        candidates = [candidate for candidate in (*parents(name), name) if candidate in MODULES]
        found |= set(candidates[-1:])
    return found


def loaded_by(module: str) -> dict[str, str]:
    """Every module of ours that loading this one loads, and who imports it."""
    found = {module: "the table"}
    queue = [module]
    while queue:
        current = queue.pop()
        needed = ours(MODULES[current].eager)
        for name in {*needed, *(parent for one in {current, *needed} for parent in parents(one))}:
            if name not in found:
                found[name] = current
                queue.append(name)
    return found


def test_the_reader_tells_eager_from_lazy() -> None:
    source = (
        "import a\nfrom b import c\nif TYPE_CHECKING:\n    import t\nelse:\n    import e\ndef f():\n    from d.e import g\n"
    )
    assert imports_of(source) == Imports(frozenset({"a", "b.c", "e"}), frozenset({"d.e.g"}))


def test_the_table_names_modules_that_exist() -> None:
    named = {*FORBIDDEN, *IMPORTERS, *(f"orchestrator.{name}" for name in DRIVER)}
    assert named <= MODULES.keys(), f"gone: {named - MODULES.keys()}"


@pytest.mark.parametrize("library", PLACES)
def test_a_foreign_library_has_one_place(library: str) -> None:
    users = {module for module, imports in MODULES.items() if any(within(name, library) for name in imports.all)}
    assert users, f"nobody imports {library}: take it out of the table"
    strangers = {user for user in users if not any(within(user, place) for place in PLACES[library])}
    assert not strangers, f"{library} belongs in {PLACES[library]}, and is imported by {strangers}"


def test_trsp_is_a_library_of_its_own() -> None:
    wrong = {
        (module, name)
        for module, imports in MODULES.items()
        if within(module, "trsp")
        for name in imports.all
        if any(within(name, other) for other in ("orchestrator", "ray", "mlflow"))
    }
    assert not wrong


@pytest.mark.parametrize("module", FORBIDDEN)
def test_what_loading_a_module_never_loads(module: str) -> None:
    for loaded, importer in loaded_by(module).items():
        wrong = {name for name in MODULES[loaded].eager if any(within(name, library) for library in FORBIDDEN[module])}
        assert not wrong, f"loading {module} loads {loaded} (through {importer}), which imports {wrong}"


@pytest.mark.parametrize("module", IMPORTERS)
def test_who_may_import_it(module: str) -> None:
    importers = {user for user, imports in MODULES.items() if module in ours(imports.all)}
    assert importers <= IMPORTERS[module]


def test_no_cycles() -> None:
    """Not even through imports within functions: those are for speed, not for knots."""
    left = {module: ours(imports.all) - {module} for module, imports in MODULES.items()}
    while free := {module for module, needed in left.items() if not needed & left.keys()}:
        left = {module: needed for module, needed in left.items() if module not in free}
    assert not left, f"modules in or behind a cycle: {sorted(left)}"


def test_torch_stays_out_of_the_driver() -> None:
    imports = "; ".join(f"import orchestrator.{name}" for name in DRIVER)
    program = f"import sys; {imports}; sys.exit(', '.join({{'torch', 'deepspeed', 'transformers'}} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"loaded by the driver: {done.stderr}"
