"""Import directions: between folders by the table of tests/rooms.py, others by the tables here."""

import ast
import subprocess
import sys

import pytest

from docs.draw_rooms import PICTURE, digest
from tests.rooms import (
    MAY_IMPORT,
    PATHS,
    ROOT,
    Imports,
    imports_of,
    modules,
    ours,
    parents,
    room_imports,
    room_of,
)

# One foreign library, one place: where it may be imported at all. A name stands for itself and for
# all that is below it.
PLACES = {
    "deepspeed": {"trsp.engine.deepspeed_runtime"},
    "lm_eval": {"trsp.evaluation.evaluate", "trsp.evaluation.lm_eval_model"},
    "peft": {"trsp.training.lora"},
    "ray": {"orchestrator.ray_backend"},
    "mlflow": {"orchestrator.tracking"},
    "matplotlib": {"orchestrator.pictures"},
    "gguf": {"orchestrator.export.gguf_file"},
    "pyarrow.fs": {"orchestrator.store"},
    "obstore": {"orchestrator.coordination.exclusive"},
    "typer": {"orchestrator.commands"},
}

# What a module, or any of a folder, may never reach, however indirectly, when it is loaded.
HEAVY = {"torch", "transformers", "deepspeed", "datasets", "lm_eval"}
CLUSTER = {"ray", "mlflow", "pyarrow"}
FORBIDDEN = {
    **dict.fromkeys(("trsp.config", "trsp.records", "trsp.errors", "trsp.data.texts"), HEAVY),
    **dict.fromkeys(("trsp.architecture.families", "trsp.architecture.shape"), HEAVY),
    **dict.fromkeys(
        ("trsp.training.snapshots", "trsp.training.watchdog", "trsp.engine.deepspeed_config"), HEAVY
    ),
    **dict.fromkeys(
        ("orchestrator.grid", "orchestrator.stages", "orchestrator.tracking.content"),
        HEAVY | CLUSTER,
    ),
    **dict.fromkeys(
        ("orchestrator.views.grid_view", "orchestrator.views.budget", "orchestrator.report.plan"),
        HEAVY | CLUSTER,
    ),
    **dict.fromkeys(
        (
            "orchestrator.scheduler.policy",
            "orchestrator.scheduler.retries",
            "orchestrator.scheduler.placement",
        ),
        HEAVY | CLUSTER,
    ),
    **{
        f"orchestrator.layouts.{name}": HEAVY | CLUSTER
        for name in (
            *("layout", "ladder", "capacity", "workload", "candidates", "estimate"),
            *("memory", "training_memory", "peak", "share"),
        )
    },
    **dict.fromkeys(
        (
            "orchestrator.ray_backend.lost_ranks",
            "orchestrator.ray_backend.node_kinds",
            "orchestrator.ray_backend.sharing.others",
            "orchestrator.doctor.findings",
        ),
        HEAVY | CLUSTER,
    ),
    "orchestrator.doctor": HEAVY,
    **dict.fromkeys(
        (
            *("orchestrator.store", "orchestrator.views", "orchestrator.report"),
            *("orchestrator.commands", "orchestrator.cli"),
        ),
        HEAVY | {"ray", "mlflow"},
    ),
    **dict.fromkeys(("orchestrator.scheduler", "orchestrator.driver", "orchestrator.run"), HEAVY),
    "orchestrator.execution.run_stage": {"torch", "ray", "mlflow"},
    "orchestrator.processes": HEAVY | CLUSTER,
    "orchestrator.export.gguf_file": HEAVY | CLUSTER,
    "orchestrator.ray_backend.workers": HEAVY,  # it serves one stage after another
}

# Who alone may import a module of ours, at load or later.
IMPORTERS = {
    "orchestrator.cli": {"orchestrator.__main__"},
    "orchestrator.run": {"orchestrator.commands"},
    "orchestrator.driver": {"orchestrator.run"},
    "orchestrator.scheduler.controller": {"orchestrator.driver"},
    "orchestrator.ray_backend.ray_launcher": {
        "orchestrator.doctor.cluster_checks",
        "orchestrator.run",
    },
}

# The driver's side of a run, from the command line down to Ray and MLflow.
DRIVER = (
    "cli",
    "run",
    "driver",
    "doctor.examine",
    "scheduler.controller",
    "ray_backend.ray_launcher",
    "tracking.tracker",
    "store.store",
    "report.plan",
    "report.standing.live_report",
    "report.plan_tables",
    "report.choice_tables",
    "report.standing.status_tables",
)

MOST_MODULES = 12  # of a folder, its __init__ not counted


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def loaded_by(module: str) -> dict[str, str]:
    """Every module of ours that loading this one, or this folder, loads, and who imports it."""
    found = {each: "the table" for each in PATHS if within(each, module)}
    queue = list(found)
    while queue:
        current = queue.pop()
        needed = ours(modules()[current].eager)
        for name in {*needed, *(parent for one in {current, *needed} for parent in parents(one))}:
            if name not in found:
                found[name] = current
                queue.append(name)
    return found


def test_the_reader_tells_eager_from_lazy() -> None:
    source = """
import a
from b import c
if TYPE_CHECKING:
    import t
else:
    import e
def f():
    from d.e import g
"""
    assert imports_of(source) == Imports(frozenset({"a", "b.c", "e"}), frozenset({"d.e.g"}))


def test_the_table_names_modules_that_exist() -> None:
    named = {*FORBIDDEN, *IMPORTERS, *(f"orchestrator.{name}" for name in DRIVER)}
    assert named <= PATHS.keys(), f"gone: {named - PATHS.keys()}"


@pytest.mark.parametrize("library", PLACES)
def test_a_foreign_library_has_one_place(library: str) -> None:
    users = {
        module
        for module, imports in modules().items()
        if any(within(name, library) for name in imports.all)
    }
    assert users, f"nobody imports {library}: take it out of the table"
    strangers = {
        user for user in users if not any(within(user, place) for place in PLACES[library])
    }
    assert not strangers, f"{library} belongs in {PLACES[library]}, and is imported by {strangers}"


def test_trsp_is_a_library_of_its_own() -> None:
    wrong = {
        (module, name)
        for module, imports in modules().items()
        if within(module, "trsp")
        for name in imports.all
        if any(within(name, other) for other in ("orchestrator", "ray", "mlflow"))
    }
    assert not wrong


@pytest.mark.parametrize("module", FORBIDDEN)
def test_what_loading_a_module_never_loads(module: str) -> None:
    for loaded, importer in loaded_by(module).items():
        wrong = {
            name
            for name in modules()[loaded].eager
            if any(within(name, library) for library in FORBIDDEN[module])
        }
        assert not wrong, (
            f"loading {module} loads {loaded} (through {importer}), which imports {wrong}"
        )


@pytest.mark.parametrize("module", IMPORTERS)
def test_who_may_import_it(module: str) -> None:
    importers = {user for user, imports in modules().items() if module in ours(imports.all)}
    assert {
        user for user in importers if not any(within(user, each) for each in IMPORTERS[module])
    } == set()


def test_the_table_of_rooms_is_what_is_there() -> None:
    assert MAY_IMPORT.keys() == room_imports().keys()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_what_it_may(room: str) -> None:
    imported = room_imports()[room]
    assert imported <= MAY_IMPORT[room], (
        f"{room} may not import {sorted(imported - MAY_IMPORT[room])}"
    )
    assert imported == MAY_IMPORT[room], (
        f"{room} imports {sorted(MAY_IMPORT[room] - imported)} no more: take it out of the table"
    )


def test_no_cycles() -> None:
    """Neither of rooms nor of modules, and not through imports within functions either."""
    needs = {module: ours(imports.all) - {module} for module, imports in modules().items()}
    for left in (dict(MAY_IMPORT), needs):
        while free := {name for name, needed in left.items() if not needed & left.keys()}:
            left = {name: needed for name, needed in left.items() if name not in free}
        assert not left, f"in or behind a cycle: {sorted(left)}"


def test_the_picture_is_of_this_table() -> None:
    picture = PICTURE.read_text(encoding="utf-8")
    assert f"drawn from table {digest()}" in picture, "python -m docs.draw_rooms draws it again"


def test_a_room_is_small() -> None:
    sizes: dict[str, int] = {}
    for module, path in PATHS.items():
        sizes[room_of(module)] = sizes.get(room_of(module), 0) + (path.name != "__init__.py")
    assert not {room: size for room, size in sizes.items() if size > MOST_MODULES}


def test_every_folder_says_what_it_is_for() -> None:
    folders = {path: ast.parse(path.read_text("utf-8")) for path in PATHS.values()}
    named = {path: tree for path, tree in folders.items() if path.name == "__init__.py"}
    assert not [path for path, tree in named.items() if not ast.get_docstring(tree)]


def test_torch_stays_out_of_the_driver() -> None:
    imports = "; ".join(f"import orchestrator.{name}" for name in DRIVER)
    loaded = "', '.join({'torch', 'deepspeed', 'transformers'} & sys.modules.keys())"
    program = f"import sys; {imports}; sys.exit({loaded} or 0)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"loaded by the driver: {done.stderr}"
