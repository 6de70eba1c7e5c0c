"""Proves every checkpoint of a finished grid, each in a fresh process.

    python -m tests.verify_checkpoints FILE [--lm-eval]

For each: it loads with ``AutoModelForCausalLM.from_pretrained``; its logits equal those of the
weights it was made of with the layers bypassed (stage two's where they were kept, else the
original's for cells without training); greedy generation agrees with and without the cache; with
``--lm-eval`` the real ``lm_eval`` CLI prints the scores that we recorded (with ``batch_size: auto``
to half a standard error, for its batches are others).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from orchestrator.grid.schema import Grid, load_grid
from orchestrator.run import view_offline
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.grid_view import CellView, Status
from trsp.config import BenchmarkSettings


def main(file: str, *options: str) -> int:
    grid = load_grid(file)
    store = Store(grid.storage.store)
    for cell in view_offline(grid).cells:
        assert cell.status is Status.DONE, f"{cell.cell.name} is {cell.status}"
        print(cell.cell.name, flush=True)
        print("  " + _fresh_process(cell, store), flush=True)
        if "--lm-eval" in options:
            print("  " + _lm_eval(cell, grid), flush=True)
    return 0


def _fresh_process(cell: CellView, store: Store) -> str:
    """What ``verify_one`` says of a cell's checkpoint.

    Its weights come from stage two's where those are still there, from the model's own where
    nothing was trained.
    """
    transfer = cell.stage_keys.get(StageKind.TRANSFER)
    origin = StoreResults(store).checkpoint_uri(transfer) if transfer else cell.cell.model.source
    command = [
        sys.executable,
        "-m",
        "tests.verify_checkpoints",
        "--one",
        str(cell.checkpoint_uri),
        origin or "",
        json.dumps(cell.layers),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def verify_one(checkpoint: str, origin: str, layers: list[int]) -> str:
    """A sentence on what holds; AssertionError where something does not.

    ``origin`` is empty where the weights that the checkpoint was made of are gone.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(5, model.config.vocab_size, (1, 24), generator=generator)
    with torch.no_grad():
        logits_BTV = model(input_ids=ids_BT).logits
        verdict = f"loads as {type(model).__name__} with {model.config.num_hidden_layers} layers"
        if origin:
            from trsp.surgery import bypassed

            whole = AutoModelForCausalLM.from_pretrained(origin, dtype=model.dtype).eval()
            with bypassed(whole, layers):
                expected_BTV = whole(input_ids=ids_BT, use_cache=False).logits
            torch.testing.assert_close(logits_BTV, expected_BTV)
            difference = (logits_BTV - expected_BTV).abs().max()
            verdict += f", logits equal the bypassed model's (largest difference {difference:.1e})"
        length = {"max_new_tokens": 16, "min_new_tokens": 16}
        settings = length | {"do_sample": False, "pad_token_id": 0}
        cached = model.float().generate(ids_BT, use_cache=True, **settings)
        assert torch.equal(cached, model.generate(ids_BT, use_cache=False, **settings)), (
            "generation differs with the cache"
        )
    return f"{verdict}, greedy generation agrees with and without the cache"


def _lm_eval(cell: CellView, grid: Grid) -> str:
    """Compare every acc and acc_norm of lm_eval's own command line with ours; say how many."""
    benchmarks = grid.evaluation.benchmarks
    assert benchmarks is not None
    assert cell.evaluation is not None
    printed = _lm_eval_results(str(cell.checkpoint_uri), benchmarks)
    compared = 0
    for name, score in cell.evaluation.scores.items():
        task, _, metric = name.partition("/")
        if task in printed:
            apart = abs(printed[task][f"{metric},none"] - score.value)
            # In other batches bf16 rounds otherwise, and near ties may fall to the other side.
            allowed = (score.stderr or 0.0) / 2 if benchmarks.batch_size == "auto" else 0.0
            assert apart <= allowed, f"{name}: {printed[task]} is not our {score.value}"
            compared += 1
    assert compared >= len(benchmarks.tasks)
    return f"lm_eval prints our {compared} scores"


def _lm_eval_results(checkpoint: str, benchmarks: BenchmarkSettings) -> dict[str, Any]:
    """What lm_eval's own command line finds, by task."""
    from trsp.evaluation.lm_eval_tasks import write_task_overrides

    with tempfile.TemporaryDirectory() as folder:
        command = ["lm_eval", "--model", "hf", "--model_args", f"pretrained={checkpoint}"]
        command += ["--output_path", folder, "--tasks", ",".join(benchmarks.tasks)]
        # Not lm-eval's own auto, which tries batches of the longest input that a model takes.
        batch_size = 8 if benchmarks.batch_size == "auto" else benchmarks.batch_size
        command += ["--batch_size", str(batch_size)]
        if benchmarks.limit:
            command += ["--limit", str(benchmarks.limit)]
        if benchmarks.data:
            overrides = Path(folder) / "tasks"
            tasks = write_task_overrides(Path(benchmarks.data), benchmarks.tasks, overrides)
            command += ["--include_path", str(tasks)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        results = json.loads(next(Path(folder).rglob("results_*.json")).read_text())["results"]
    return dict(results)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(verify_one(sys.argv[2], sys.argv[3], json.loads(sys.argv[4])))
    else:
        sys.exit(main(*sys.argv[1:]))
