"""Options that several commands share."""

import inspect

from orchestrator import cli  # noqa: F401  (it adds the commands)
from orchestrator.commands.app import app


def test_every_command_that_reads_a_grid_may_be_allowed_variables() -> None:
    commands = [command.callback for command in app.registered_commands if command.callback]
    taken = [inspect.signature(command).parameters.keys() for command in commands]
    assert {"allow_variable" in names for names in taken if "file" in names} == {True}
