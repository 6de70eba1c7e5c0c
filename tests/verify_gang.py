"""Proves on a real model that a gang gives what one rank gives.

    python -m tests.verify_gang ASSETS [FOLDER]

ASSETS is what ``jobs/demo_assets.py`` made (SmolLM2-135M and its texts). ``trsp run`` makes one
small grid twice, each in a home of its own: on one rank under ZeRO 0 and on two under ZeRO 3, both
stages and pruning, in fp32. Then the chosen layers, the gates and every tensor of the two
checkpoints are compared.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

from orchestrator.grid.schema import load_grid
from orchestrator.run import view_offline
from orchestrator.views.grid_view import CellView, RankingView, Status

TOLERANCE = 1e-5  # of a tensor's norm
WAYS = {
    "one rank, ZeRO 0": ("engine: {zero_stage: 0}", "resources: {ranks: 1}"),
    "two ranks, ZeRO 3": ("engine: {zero_stage: 3}", "resources: {ranks: 2}"),
}
GRID = """
name: gang
models: {assets}/SmolLM2-135M-Instruct
selectors: {{name: gates, learning_rate: 0.1, steps_per_round: 4, blocks_per_step: 2}}
ratios: 10%
gate_l1: 5e-3
drift: 0.1
transfer: {{name: drift, steps: 6, blocks_per_step: 2, learning_rate: 2e-4}}
calibration:
  text: {{name: wiki, path: {assets}/text/wiki-train.jsonl}}
  blocks: 12
  block_tokens: 128
evaluation:
  perplexity:
    - text: {{name: c4, path: {assets}/text/c4.jsonl}}
      window_tokens: 128
      max_windows: 8
measurement: {{protocol: none}}
precision: fp32
storage: {{store: {home}/store}}
tracking: {{uri: "sqlite:///{home}/mlflow.db"}}
"""


def run(assets: Path, home: Path, way: str) -> tuple[RankingView, CellView]:
    """Run the grid in ``home``; return its only ranking and its only cell."""
    home.mkdir(parents=True)
    file = home / "gang.yaml"
    file.write_text(
        GRID.format(assets=assets, home=home) + "\n".join(WAYS[way]) + "\n", encoding="utf-8"
    )
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "run", str(file)],
        check=True,
        env=os.environ | {"TRSP_HOME": str(home)},
    )
    view = view_offline(load_grid(file))
    assert view.status is Status.DONE, view.reason
    print(f"{way}: {time.monotonic() - started:.0f} s", flush=True)
    return view.rankings[0], view.cells[0]


def gate_difference(one: RankingView, two: RankingView) -> float:
    """The largest difference of any gate in any round."""
    differences: list[float] = []
    for mine, other in zip(one.rounds, two.rounds, strict=True):
        differences += [abs(mine.scores[layer] - other.scores[layer]) for layer in mine.scores]
    return max(differences)


def compare(one: tuple[RankingView, CellView], two: tuple[RankingView, CellView]) -> None:
    """Print how far the two runs differ; AssertionError where that is too far."""
    gates = gate_difference(one[0], two[0])
    assert one[1].layers == two[1].layers, f"layers {one[1].layers} and {two[1].layers}"
    first, second = (
        load_file(Path(str(cell.checkpoint_uri)) / "model.safetensors") for _, cell in (one, two)
    )
    assert first.keys() == second.keys()
    worst = max(
        (float((first[name] - second[name]).norm() / first[name].norm()), name) for name in first
    )
    scores = [
        cell.evaluation.scores["perplexity/c4"].value for _, cell in (one, two) if cell.evaluation
    ]
    print(
        f"layers {one[1].layers} in both; gates differ by at most {gates:.1e}; "
        f"perplexity {scores[0]:.6f} and {scores[1]:.6f}"
    )
    print(f"{len(first)} tensors, the largest relative difference is {worst[0]:.1e} ({worst[1]})")
    assert worst[0] <= TOLERANCE, f"more than {TOLERANCE}"


def main(assets: str, folder: str | None = None) -> None:
    base = Path(folder or tempfile.mkdtemp(prefix="trsp-gang-"))
    found = [
        run(Path(assets).absolute(), base / f"ranks-{number}", way)
        for number, way in enumerate(WAYS, start=1)
    ]
    compare(found[0], found[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
