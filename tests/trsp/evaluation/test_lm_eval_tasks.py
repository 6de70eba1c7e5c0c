"""Names of lm-eval's tasks, and the folders that stand in for the hub."""

from pathlib import Path

import pytest

from tests.trsp.evaluation.benchmark_rows import items, write_items
from trsp.evaluation.lm_eval_tasks import rows_fingerprint, task_file


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("arc_easy", "arc/arc_easy.yaml"),
        ("boolq", "super_glue/boolq/default.yaml"),
        ("mmlu", "mmlu/default/_mmlu.yaml"),
        ("winogrande", "winogrande/default.yaml"),
    ],
)
def test_task_files_are_found_by_name(task: str, file: str) -> None:
    assert task_file(task).as_posix().endswith(f"lm_eval/tasks/{file}")


def test_the_fingerprint_follows_the_rows_of_the_task_alone(tmp_path: Path) -> None:
    one, two = (str(write_items(tmp_path / name, items(True))) for name in ("one", "two"))
    before = rows_fingerprint(one, "piqa")
    write_items(Path(one), {"arc_easy": items(False)["arc_easy"]})
    assert rows_fingerprint(one, "piqa") == rows_fingerprint(two, "piqa") == before
    write_items(Path(one), {"piqa": items(False)["piqa"]})
    assert rows_fingerprint(one, "piqa") != before
    assert rows_fingerprint(None, "piqa") == "hub"
