"""The plan of the demo against the demo as it ran: 745 s of stages, 2,889 MB (docs/seconds.md)."""

from pathlib import Path

import pytest

from orchestrator.costs.cost import GridCost
from orchestrator.costs.machine import Machine
from orchestrator.costs.of_grid import cost_of
from orchestrator.grid.schema import load_grid
from orchestrator.layouts.capacity import Capacity
from orchestrator.stages.resolve import resolve_offline
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.costs.planned import of_kind

RAN_S, RAN_BYTES = 733, 2_889_790_000
TOKENIZER_BYTES = 3_522_871
MEANS_S = {  # of one stage; all kinds together took 1,405 s of a core
    StageKind.DENSE: 31.3,
    StageKind.RANKING: 130.0,
    StageKind.TRANSFER: 77.2,
    StageKind.PRUNE: 0.9,
    StageKind.EVALUATE: 26.8,
    StageKind.MEASURE: 11.5,
}
CONFIG = """{"model_type": "llama", "dtype": "bfloat16", "hidden_size": 576, "head_dim": 64,
    "intermediate_size": 1536, "num_attention_heads": 9, "num_hidden_layers": 30,
    "num_key_value_heads": 3, "tie_word_embeddings": true, "vocab_size": 49152}"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GridCost:
    """What the demo costs on two cores, by its model's config.json alone."""
    folder = tmp_path / "assets" / "SmolLM2-135M-Instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG)
    with (folder / "tokenizer.json").open("wb") as tokenizer:
        tokenizer.truncate(TOKENIZER_BYTES)
    monkeypatch.setenv("TRSP_HOME", str(tmp_path))
    grid = load_grid(Path(__file__).resolve().parents[3] / "jobs" / "demo.yaml")
    resources = grid.resources.model_copy(update={"use_gpus": False})
    machine = Machine(Capacity(2, memory_bytes=resources.memory or 0), resources)
    return cost_of(resolve_offline(grid), machine)


def test_its_time_is_within_30_percent(demo: GridCost) -> None:
    assert demo.makespan_s is not None
    assert demo.makespan_s.likely == pytest.approx(RAN_S, rel=0.3)
    assert demo.makespan_s.low < RAN_S < demo.makespan_s.high


def test_its_bytes_are_within_10_percent(demo: GridCost) -> None:
    assert demo.kept_bytes.likely == pytest.approx(RAN_BYTES, rel=0.1)
    assert demo.kept_bytes.low == pytest.approx(RAN_BYTES, rel=0.001), "both strengths agreed"


@pytest.mark.parametrize("kind", [kind for kind in MEANS_S if kind is not StageKind.PRUNE])
def test_each_kind_of_stage_is_within_30_percent(demo: GridCost, kind: StageKind) -> None:
    assert of_kind(demo, kind).each_s == pytest.approx(MEANS_S[kind], rel=0.3)


def test_a_prune_is_within_a_second(demo: GridCost) -> None:
    assert of_kind(demo, StageKind.PRUNE).each_s == pytest.approx(0.9, abs=1.0)
