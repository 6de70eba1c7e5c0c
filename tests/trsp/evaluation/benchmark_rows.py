"""Rows of four benchmark tasks with the columns of their real data sets, and folders of them."""

import json
from collections.abc import Mapping
from pathlib import Path

LETTERS = "ABCD"


def items(shortest_is_right: bool, count: int = 10) -> Mapping[str, list[dict[str, object]]]:
    """Return ``count`` rows per task; the choices of an item differ in length."""
    right = 0 if shortest_is_right else 1
    short, long = "a stone", "a stone and a very old river"
    choices = {"text": [short, long, long + "!", long + "?"], "label": list(LETTERS)}
    arc = {"choices": choices, "answerKey": LETTERS[right]}
    hellaswag = {
        "activity_label": "Farming",
        "ctx_b": "he",
        "endings": [short] + 3 * [long],
        "label": str(right),
    }
    copa = {"choice1": "It broke.", "choice2": long, "question": "effect", "label": right}
    return {
        "arc_easy": [{"question": f"What is {i}?", **arc} for i in range(count)],
        "piqa": [
            {"goal": f"To lift {i}", "sol1": short, "sol2": long, "label": right}
            for i in range(count)
        ],
        "hellaswag": [{"ctx_a": f"The farmer sees {i}.", **hellaswag} for i in range(count)],
        "copa": [{"premise": f"Stone {i} fell.", **copa} for i in range(count)],
    }


def write_items(
    folder: Path, rows: Mapping[str, list[dict[str, object]]], split: str = "validation"
) -> Path:
    for task, of_task in rows.items():
        (folder / task).mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in of_task)
        (folder / task / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder
