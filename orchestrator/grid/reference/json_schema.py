"""The JSON Schema of grid files, by which an editor completes and checks them.

It is kept in ``orchestrator/grid.schema.json`` (``trsp schema`` writes it): grid files name that
path in their second line, so it stays there wherever this module lies.
"""

from typing import Any

from orchestrator.grid.schema import Grid


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema by which an editor completes and checks grid files."""
    schema = Grid.model_json_schema(mode="validation")
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, **_with_whole_summaries(schema)}


def _with_whole_summaries(schema: Any) -> Any:
    """Return the schema with each description's summary on one line: docstrings are wrapped."""
    if isinstance(schema, list):
        return [_with_whole_summaries(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _with_whole_summaries(value) for key, value in schema.items()}
    description = whole.get("description")
    if isinstance(description, str):
        summary, blank, rest = description.partition("\n\n")
        whole["description"] = summary.replace("\n", " ") + blank + rest
    return whole
