"""What of benchmark tasks and their rows is known before anything is scored."""

from pathlib import Path

import pytest

from tests.trsp.evaluation.benchmark_rows import items, write_items
from trsp.config import BenchmarkSettings
from trsp.errors import InvalidInputError
from trsp.evaluation.task_rows import check_tasks


def test_task_folders_are_checked(tmp_path: Path) -> None:
    data = write_items(tmp_path, items(True))
    check_tasks(BenchmarkSettings(tasks=("piqa", "copa"), data=str(data)))
    with pytest.raises(
        InvalidInputError,
        match=r"no folder .*sciq; the data folder holds arc_easy, copa, hellaswag, piqa",
    ):
        check_tasks(BenchmarkSettings(tasks=("piqa", "sciq"), data=str(data)))
    with pytest.raises(InvalidInputError, match="holds no tasks"):
        check_tasks(BenchmarkSettings(tasks=("piqa",), data=str(data / "absent")))
    (data / "piqa" / "validation.jsonl").rename(data / "piqa" / "train.jsonl")
    with pytest.raises(InvalidInputError, match=r"neither validation\.jsonl nor test\.jsonl"):
        check_tasks(BenchmarkSettings(tasks=("piqa",), data=str(data)))


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", "holds no rows"),
        (b"\n\n", "holds no rows"),
        (b'\n{"goal": \n', "line 2, is not JSON"),
        (b"[1]\n", "line 1, is list; a .jsonl file has one object per line"),
        (b'{"goal": "caf\xe9"}\n', "line 1, is not UTF-8"),
    ],
)
def test_rows_that_are_no_json_lines_are_known_before_anything_is_scored(
    tmp_path: Path, content: bytes, refusal: str
) -> None:
    data = write_items(tmp_path, {"piqa": items(True)["piqa"]})
    (data / "piqa" / "test.jsonl").write_bytes(content)
    with pytest.raises(InvalidInputError, match=refusal):
        check_tasks(BenchmarkSettings(tasks=("piqa",), data=str(data)))


@pytest.mark.parametrize(
    ("task", "column"), [("piqa", "goal"), ("piqa", "label"), ("arc_easy", "choices")]
)
def test_a_row_without_a_column_of_the_task_is_refused(
    tmp_path: Path, task: str, column: str
) -> None:
    """lm-eval takes ``label``, where there is none, for the answer: a score of 0, in silence."""
    rows = list(items(True)[task])
    rows[3] = {name: value for name, value in rows[3].items() if name != column}
    data = write_items(tmp_path, {task: rows})
    with pytest.raises(InvalidInputError, match=rf"{task}.*line 4, has no {column}; a row has"):
        check_tasks(BenchmarkSettings(tasks=(task,), data=str(data)))
