"""Benchmark tasks that cannot be scored, as far as their names and rows tell beforehand.

Knows no model and no torch, and imports no lm_eval.
"""

from pathlib import Path

from trsp.config import BenchmarkSettings
from trsp.data.text_files import json_rows
from trsp.errors import InvalidInputError
from trsp.evaluation.lm_eval_tasks import row_files, task_file
from trsp.evaluation.task_definitions import columns_of


def check_tasks(settings: BenchmarkSettings) -> None:
    """Raise InvalidInputError for a task that lm-eval does not know.

    Where ``data`` is given, also for one whose folder holds no split to score, and for rows that
    are no JSON lines or lack what the task reads.
    """
    for task in settings.tasks:
        task_file(task)
        if settings.data is not None:
            for path in row_files(Path(settings.data), task).values():
                _check_rows(task, path)


def _check_rows(task: str, path: Path) -> None:
    """Raise InvalidInputError unless every row of a split has the columns of the task.

    lm-eval takes a column that is not there for a word, and scores against that.
    """
    columns, rows = columns_of(task), 0
    for number, row in json_rows(path):
        rows += 1
        if missing := sorted(columns - row.keys()):
            raise InvalidInputError(
                f"benchmark {task!r}: {path}, line {number}, has no {', '.join(missing)}; "
                "a row has the columns of the task's own data set"
            )
    if not rows:
        raise InvalidInputError(
            f"benchmark {task!r}: {path} holds no rows; write one JSON object per line, or delete "
            "the file"
        )
