"""One seed on one machine: the same layers, weights and perplexity, in any process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trsp import DriftSettings, EngineSettings, GatesSettings, LanguageModel
from trsp.distributed.device import seed_everything


def pruned(model: str, text: str, seed: int, zero_stage: int) -> tuple[list[int], float]:
    """Return the layers and the perplexity at the end of the whole way, from disk."""
    seed_everything(seed)
    lm, engine = LanguageModel.load(model), EngineSettings(zero_stage=zero_stage)
    blocks = lm.blocks(text, count=8, tokens=32, seed=seed)
    layers = lm.rank(blocks, 3, GatesSettings(learning_rate=0.03), seed=seed, engine=engine)
    lm.transfer(layers, blocks, DriftSettings(learning_rate=1e-3), engine=engine)
    lm.remove(layers)
    return layers, lm.perplexity(text, window_tokens=32, max_windows=16).value


def test_one_seed_gives_one_result_and_another_seed_another(
    tiny_llama: Path, text_file: Path
) -> None:
    runs = [pruned(str(tiny_llama), str(text_file), seed, zero_stage=2) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[2][1] != runs[0][1]


@pytest.mark.slow
def test_two_fresh_processes_agree(tiny_llama: Path, text_file: Path) -> None:
    program = (
        "import json, sys; from tests.trsp.test_reproducible import pruned; "
        "print(json.dumps(pruned(*sys.argv[1:3], 0, 3)))"
    )
    command = [sys.executable, "-c", program, str(tiny_llama), str(text_file)]
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)
    ]
    outputs = [
        json.loads(process.communicate(timeout=200)[0].splitlines()[-1]) for process in running
    ]
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][1] == pytest.approx(outputs[1][1], abs=1e-4)
