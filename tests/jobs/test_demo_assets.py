"""The demo's assets without installing them.

What is kept of the dump, and that a part appears whole or not at all.
"""

import json
from pathlib import Path

import pytest

from jobs import demo_assets

LONG = " ".join(["word"] * 120)
URL = "https://en.wikipedia.org/wiki?curid="
DUMP = "\n".join(
    f'<doc id="{i}" url="{URL}{i}" title="T">\nT{i}\n\n{LONG} R&amp;D.\n</doc>' for i in range(10)
)


def test_long_articles_are_kept_and_every_fifth_is_held_out(tmp_path: Path) -> None:
    data = tmp_path / "packages" / demo_assets.CALIBRATION_DATA
    data.mkdir(parents=True)
    (data / "wiki.utf8").write_text(
        '<doc id="x" title="S">\nstub\n</doc>\n' + DUMP, encoding="utf-8"
    )
    (data / "c4.utf8").write_text("page one\n\npage two\n", encoding="utf-8")
    demo_assets.write_texts(tmp_path, tmp_path)
    rows = {
        path.stem: [json.loads(line) for line in path.open()] for path in tmp_path.glob("*.jsonl")
    }
    assert [row["text"].split()[0] for row in rows["wiki-test"]] == ["T4", "T9"]
    assert [row["text"].split()[0] for row in rows["wiki-train"]] == [
        "T0",
        "T1",
        "T2",
        "T3",
        "T5",
        "T6",
        "T7",
        "T8",
    ]
    assert rows["wiki-test"][0] == {"text": f"T4\n\n{LONG} R&D.", "url": f"{URL}4"}
    assert rows["c4"] == [{"text": "page one"}, {"text": "page two"}]


def test_a_part_is_whole_or_not_there_and_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    broken = True

    def make(_: Path, target: Path) -> None:
        made.append(target.name)
        assert list(target.iterdir()) == []
        (target / "half").write_text("x")
        if broken and "text" in target.name:
            raise OSError("no space left")

    for step in ("install_packages", "convert_model", "write_texts", "export_benchmarks"):
        monkeypatch.setattr(demo_assets, step, make)
    with pytest.raises(OSError, match="no space left"):
        demo_assets.prepare(tmp_path)
    parts = {"packages", demo_assets.MODEL}
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == parts
    broken = False
    demo_assets.prepare(tmp_path)
    demo_assets.prepare(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == parts | {
        "text",
        "benchmarks",
    }
    assert [name.split(".")[1] for name in made] == [
        "packages",
        demo_assets.MODEL,
        "text",
        "text",
        "benchmarks",
    ]
