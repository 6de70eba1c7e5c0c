"""The example jobs: those within the installed package, or a clone's ``jobs/``. Reads only."""

import re
from importlib.resources import as_file, files
from pathlib import Path

from trsp.errors import InvalidInputError, unknown_name

_SCHEMA_COMMENT = re.compile(r"^# yaml-language-server: \$schema=.*$", re.MULTILINE)


def example_names() -> tuple[str, ...]:
    """Return the names of the examples, by the alphabet."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def example(name: str) -> str:
    """Return the text of an example. InvalidInputError for a name that none has.

    Its schema's place is that of this installation, so that it holds in any folder.
    """
    if name not in example_names():
        raise InvalidInputError(unknown_name("example", name, example_names()))
    text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return _SCHEMA_COMMENT.sub(lambda _: schema_comment(), text, count=1)


def schema_comment() -> str:
    """Return the line by which an editor finds the JSON Schema of grid files."""
    with as_file(files("orchestrator") / "grid.schema.json") as schema:
        return f"# yaml-language-server: $schema={schema}"


def _folder() -> Path:
    """Return where the examples lie: in the package where it was built, else in the clone."""
    with as_file(files("orchestrator")) as package:
        built = package / "examples"
        return built if built.is_dir() else package.parent / "jobs"
