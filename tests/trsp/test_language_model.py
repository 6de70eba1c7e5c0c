"""The library as docs/library.md shows it: that text itself is run, on a tiny model."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import trsp
from tests.tiny import LAYERS, tiny_model, tiny_tokenizer
from trsp import BlockInfluenceSettings, LanguageModel, TextSource
from trsp.errors import TrspError

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def on_tiny(snippet: str, model: Path, text: Path, out: Path) -> str:
    """The snippet with our paths and smaller numbers for those on the page."""
    changes = {
        "HuggingFaceTB/SmolLM2-135M-Instruct": str(model),
        "calibration.jsonl": str(text),
        "held-out.jsonl": str(text),
        "smollm2-24-layers": str(out),
        "count=32, tokens=512": "count=8, tokens=32",
        "window_tokens=512": "window_tokens=32, max_windows=8",
        "count=6": "count=2",
    }
    for shown, ours in changes.items():
        assert shown in snippet, f"the page no longer says {shown!r}"
        snippet = snippet.replace(shown, ours)
    return snippet


@pytest.fixture(scope="module")
def ran(
    tiny_llama: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Names after the page's first snippet has run, and ``folder``, where its checkpoint lies."""
    folder = tmp_path_factory.mktemp("library") / "pruned"
    names: dict[str, Any] = {"folder": folder}
    exec(compile(on_tiny(snippets()[0], tiny_llama, text_file, folder), str(PAGE), "exec"), names)
    return names


def test_ten_lines_prune_a_model(ran: dict[str, Any], text_file: Path) -> None:
    assert len([line for line in snippets()[0].splitlines() if line.strip()]) <= 10
    assert len(ran["layers"]) == 2
    assert ran["lm"].model.config.num_hidden_layers == LAYERS - 2

    saved = AutoModelForCausalLM.from_pretrained(ran["folder"])
    tokens = ran["blocks"][:2]
    with torch.no_grad():
        torch.testing.assert_close(saved(tokens).logits, ran["lm"].model(tokens).logits)
    again = LanguageModel.load(str(ran["folder"]))
    wanted = ran["lm"].perplexity(text_file, window_tokens=32, max_windows=8).value
    assert again.perplexity(text_file, window_tokens=32, max_windows=8).value == pytest.approx(
        wanted, rel=1e-5
    )


def test_the_card_names_the_layers(ran: dict[str, Any]) -> None:
    listed = ", ".join(str(layer) for layer in sorted(ran["layers"]))
    assert f"**{listed}**" in (ran["folder"] / "README.md").read_text()
    assert f"of its {LAYERS} transformer layers" in (ran["folder"] / "README.md").read_text()


def test_the_second_snippet_runs_and_gives_the_same_order(
    ran: dict[str, Any], tiny_llama: Path
) -> None:
    names: dict[str, Any] = {"lm": LanguageModel.load(str(tiny_llama)), "blocks": ran["blocks"]}
    exec(compile(snippets()[1].replace("depth=6", "depth=2"), str(PAGE), "exec"), names)
    assert [record.layer for record in names["rounds"]] == ran["layers"]


def test_other_selectors_and_texts(tiny_llama: Path, text_file: Path) -> None:
    lm = LanguageModel.load(str(tiny_llama))
    blocks = lm.blocks(
        TextSource(name="calibration", path=str(text_file), max_documents=4), count=2, tokens=16
    )
    assert blocks.shape == (2, 16)
    assert len(set(lm.rank(blocks, LAYERS - 1, BlockInfluenceSettings()))) == LAYERS - 1


def test_published_text_is_a_word_away(tiny_llama: Path, text_file: Path) -> None:
    """The tiny tokenizer opens a text with BOS, 257; so do all blocks and windows but these."""
    lm = LanguageModel.load(str(tiny_llama))
    default, paper = (
        lm.blocks(text_file, count=8, tokens=16, preset=preset) for preset in ("default", "paper")
    )
    assert (default[:, 0] == 257).all()
    assert not (paper == 257).any()
    opened, stream = (
        lm.perplexity(text_file, window_tokens=16, max_windows=4, bos=bos).value
        for bos in ("auto", "once")
    )
    assert opened != stream


def test_a_gemma_whose_tokenizer_was_converted_reads_bos(tmp_path: Path, text_file: Path) -> None:
    """It comes back as a tokenizer of no family's class, and adds none itself."""
    tiny_model("gemma3_text", layers=2).save_pretrained(tmp_path)
    tiny_tokenizer(adds_bos=False).save_pretrained(tmp_path)
    lm = LanguageModel.load(str(tmp_path))
    assert lm.tokenizer("a")["input_ids"][0] != 257
    assert (lm.blocks(text_file, count=4, tokens=16)[:, 0] == 257).all()
    found, opened, without = (
        lm.perplexity(text_file, window_tokens=16, max_windows=4, bos=bos).value
        for bos in ("auto", "always", "never")
    )
    assert found == opened != without


def test_missing_text_is_a_users_error(tiny_llama: Path) -> None:
    with pytest.raises(TrspError, match="there is no file"):
        LanguageModel.load(str(tiny_llama)).blocks("no such.txt", count=1, tokens=8)


def test_every_public_name_is_there_and_no_other() -> None:
    for name in trsp.__all__:
        assert getattr(trsp, name).__name__ == name
        assert name in dir(trsp)
    with pytest.raises(AttributeError, match="it has BlockInfluenceSettings"):
        _ = trsp.Pruner  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "statement",
    ["import trsp", "import trsp.config", "from trsp import GatesSettings; GatesSettings()"],
)
def test_importing_costs_no_torch(statement: str) -> None:
    heavy = "{'torch', 'transformers', 'deepspeed'}"
    program = f"{statement}\nimport sys; sys.exit(', '.join({heavy} & sys.modules.keys()) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
