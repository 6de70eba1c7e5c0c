"""Proves our perplexity against two others, window by window, with BOS and without.

    python -m tests.verify_perplexity ASSETS [--windows 8] [--window-tokens 512]

ASSETS is the folder that `make demo` fills. The others are lm-eval's own command line, on a task
file of ours over a JSON text, and the loop of transformers' documentation (the model's own loss of
each window). With BOS an item of lm-eval is a window's text, scored as a rolling log-likelihood,
which lm-eval opens with BOS. Without, lm-eval scores what follows a window's first token, given
that token. Windows whose text does not come back as the same tokens are left out, and counted.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from trsp.checkpoints.checkpoint import load_model, load_tokenizer
from trsp.config import BosPolicy, PerplexitySettings, TextSource
from trsp.data.blocks import evaluation_windows
from trsp.evaluation.evaluate import windows_nll

TOLERANCE = 1e-4  # relative, of a perplexity
POLICIES: tuple[BosPolicy, ...] = ("always", "never")


def main() -> None:
    options = _options()
    source = str(options.assets / options.model)
    model, tokenizer = load_model(source, None, "fp32"), load_tokenizer(source)
    for bos in POLICIES:
        settings = PerplexitySettings(
            text=TextSource(name="text", path=str(options.assets / "text" / options.text)),
            window_tokens=options.window_tokens,
            max_windows=options.windows,
            bos=bos,
        )
        windows_NT = evaluation_windows(tokenizer, settings)
        items = [_item(tokenizer, tokens_T, bos) for tokens_T in windows_NT]
        kept = [number for number, item in enumerate(items) if item is not None]
        assert kept, f"none of {len(items)} windows comes back as the same tokens: take more"
        kept_NT = windows_NT[kept]
        found = {
            "ours": windows_nll(model, kept_NT),
            "transformers": _documented_loop(model, kept_NT),
            "lm_eval": _lm_eval(source, [items[number] for number in kept], bos, kept_NT.shape[1]),
        }
        _compare(found, f"bos {bos}, {len(kept)} of {len(items)} windows of {kept_NT.shape[1]}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("assets", type=Path)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct", help="its folder in ASSETS")
    parser.add_argument("--text", default="wiki-test.jsonl", help="its file in ASSETS/text")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--window-tokens", type=int, default=512)
    return parser.parse_args()


def _item(tokenizer: Any, tokens_T: Tensor, bos: BosPolicy) -> dict[str, str] | None:
    """The window as a row of lm-eval's task; None where it would be read as other tokens.

    lm-eval moves spaces at the end of a context into what follows: such a window is left out too.
    """
    opened = 1 if bos == "always" else 0
    ids = tokens_T[opened:].tolist()
    first, rest = tokenizer.decode(ids[:1]), tokenizer.decode(ids[1:])
    text = tokenizer.decode(ids)
    if _ids(tokenizer, text) != ids:
        return None
    if bos == "never" and (first + rest != text or first != first.rstrip() or not first):
        return None
    return {"text": text, "first": first, "rest": rest}


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


@torch.no_grad()
def _documented_loop(model: Any, windows_NT: Tensor) -> list[float]:
    """The loss that the model itself returns for each window, by a loop over single windows."""
    nlls = []
    for tokens_T in windows_NT:
        input_ids = tokens_T[None].to(model.device)
        nlls.append(model(input_ids, labels=input_ids.clone()).loss.item())
    return nlls


def _lm_eval(source: str, items: Sequence[Any], bos: BosPolicy, window_tokens: int) -> list[float]:
    """The mean NLL of each item's predicted tokens, by lm_eval's command line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        task = _task(rows, bos)
        (folder / "windows.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        arguments = (
            f"pretrained={source},dtype=float32,add_bos_token=False,max_length={window_tokens}"
        )
        command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", arguments]
        command += ["--tasks", "windows", "--include_path", name, "--batch_size", "1"]
        command += ["--output_path", f"{name}/out", "--log_samples"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"lm_eval failed:\n{done.stderr[-2000:]}"
        (samples,) = (folder / "out").rglob("samples_windows_*.jsonl")
        answers = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    totals = {answer["doc_id"]: _log_likelihood(answer) for answer in answers}
    return [-totals[number] / (window_tokens - 1) for number in range(len(items))]


def _log_likelihood(answer: dict[str, Any]) -> float:
    """The log-likelihood in a logged sample: alone, or first beside whether it is greedy."""
    value: Any = answer["resps"]
    while isinstance(value, list):
        value = value[0]
    return float(value)


def _task(rows: Path, bos: BosPolicy) -> dict[str, Any]:
    """lm-eval's task of scoring the rows of one file."""
    task: dict[str, Any] = {
        "task": "windows",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "target_delimiter": "",
    }
    if bos == "always":
        rolling = {"output_type": "loglikelihood_rolling", "doc_to_text": ""}
        return (
            task
            | rolling
            | {"doc_to_target": "{{text}}", "metric_list": [{"metric": "byte_perplexity"}]}
        )
    given = {
        "output_type": "loglikelihood",
        "doc_to_text": "{{first}}",
        "doc_to_target": "{{rest}}",
    }
    return (
        task | given | {"metric_list": [{"metric": "acc"}]}
    )  # of whole items a perplexity overflows


def _compare(found: dict[str, Sequence[float]], what: str) -> None:
    """Print all perplexities; AssertionError where one of them, or of a window, is another."""
    print(f"{what} tokens:")
    ours = found["ours"]
    for name, nll in found.items():
        apart = max(abs(math.exp(a - b) - 1) for a, b in zip(nll, ours, strict=True))
        print(
            f"  {name:<13} perplexity {math.exp(statistics.fmean(nll)):.6f}, "
            f"largest difference of a window {apart:.1e}",
            flush=True,
        )
        assert apart <= TOLERANCE, f"{name} differs from ours by {apart:.1e}"


if __name__ == "__main__":
    main()
