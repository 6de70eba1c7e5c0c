"""The command line: ``trsp COMMAND``.

Finds the command and shows errors; each command is a module of ``orchestrator/commands``, which
imports what is heavy when it runs.
"""

import sys
import traceback
from pathlib import Path
from textwrap import indent

from orchestrator.commands.app import BAD_INPUT, FAILED, app, command_names
from orchestrator.commands.keeping import export, gc
from orchestrator.commands.looking import best, compare, list_grids, logs, report, status, ui
from orchestrator.commands.running import asking, doctor, init, measure, plan, run, submit
from orchestrator.interrupts import end_at_interrupts
from orchestrator.redact import redact
from trsp.errors import TrspError

_RUNNING = (init, run, submit, plan, asking, doctor, measure)
_LOOKING = (status, best, report, compare, logs, list_grids, ui)
_KEEPING = (export, gc)
_IN_ORDER = [module.__name__ for module in (*_RUNNING, *_LOOKING, *_KEEPING)]
app.registered_commands.sort(key=lambda command: _IN_ORDER.index(command.callback.__module__))


def _with_command(arguments: list[str]) -> list[str]:
    """The arguments, with ``run`` before a grid file that comes first.

    ``FILE ...`` means ``run FILE ...``: what an executable grid file's first line comes to.
    """
    first = arguments[0] if arguments else ""
    names_file = (
        first not in command_names()
        and not first.startswith("-")
        and (Path(first).suffix in (".yaml", ".yml") or Path(first).is_file())
    )
    return ["run", *arguments] if names_file else arguments


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit. An error that a user can cure is printed without a traceback.

    Neither shows credentials. ``arguments``: default those that the process was started with; its
    SIGINT is then ours.
    """
    if arguments is None:
        end_at_interrupts()
    try:
        app(_with_command(sys.argv[1:] if arguments is None else arguments), prog_name="trsp")
    except TrspError as error:
        print(indent(redact(error), "error: "), file=sys.stderr)
        sys.exit(BAD_INPUT)
    except Exception:
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(FAILED)
