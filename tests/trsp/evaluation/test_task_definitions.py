"""What names an lm-eval task: its version, its YAML with what that includes, and its code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trsp.evaluation import lm_eval_tasks
from trsp.evaluation.task_definitions import resolved_yaml, task_definition


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of two tasks and a group in place of lm-eval's."""
    files = {
        "a.yaml": "task: a\ninclude: _base\ndoc_to_text: '{{q}}'\nmetadata:\n  version: 3\n",
        "_base": "process_docs: !function utils.process\ndoc_to_text: none\ntest_split: test\n",
        "utils.py": "def process(docs):\n    return docs\n",
        "b.yaml": "task: b\ntest_split: test\n",
        "group/g.yaml": "group: g\ntask:\n  - c\n  - b\n",
        "group/c.yaml": "task: c\ntest_split: test\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = sorted(str(path) for path in tmp_path.rglob("*.yaml"))
    monkeypatch.setattr(lm_eval_tasks, "_task_files", lambda: found)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    task_definition.cache_clear()
    lm_eval_tasks.task_file.cache_clear()


def changed(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    forget()


def test_a_tasks_own_keys_count_before_those_it_includes(tasks: Path) -> None:
    config = resolved_yaml(tasks / "a.yaml")
    assert (config["doc_to_text"], config["test_split"]) == ("{{q}}", "test")
    assert config["process_docs"].startswith("utils.process@")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("a.yaml", "version: 3", "version: 4"),
        ("a.yaml", "{{q}}", "Q: {{q}}"),
        ("_base", "test_split: test", "test_split: validation"),
        ("utils.py", "return docs", "return docs[1:]"),
    ],
    ids=["version", "prompt", "included", "code"],
)
def test_whatever_changes_a_task_changes_its_definition(
    tasks: Path, file: str, old: str, new: str
) -> None:
    before, other = task_definition("a"), task_definition("b")
    changed(tasks / file, old, new)
    assert task_definition("a") != before
    assert task_definition("b") == other


def test_a_comment_changes_no_definition(tasks: Path) -> None:
    before = task_definition("a")
    changed(tasks / "a.yaml", "task: a", "# said in words\ntask: a")
    assert task_definition("a") == before


@pytest.mark.parametrize("file", ["group/c.yaml", "b.yaml"], ids=["beside it", "elsewhere"])
def test_a_group_changes_with_its_members(tasks: Path, file: str) -> None:
    before = task_definition("g")
    changed(tasks / file, "test_split: test", "test_split: validation")
    assert task_definition("g") != before


@pytest.mark.parametrize(("task", "version"), [("arc_easy", 1.0), ("mmlu", 2)])
def test_the_version_is_lm_evals_own(task: str, version: float) -> None:
    found: dict[str, Any] = task_definition(task)
    assert found["version"] == version
