"""What a stage reads: the blocks that its inputs say, of the text that its locations name."""

from pathlib import Path

import pytest

from orchestrator.execution.stage_inputs import stage_calibration_blocks
from orchestrator.grid.cells import text_id
from orchestrator.stages.stage_specs import ranking_spec
from tests.orchestrator.studies import cell, study
from tests.tiny import tiny_config, tiny_tokenizer
from trsp.config import CalibrationSettings, RandomSettings, TextSource
from trsp.data.blocks import calibration_blocks


@pytest.mark.parametrize(
    "changes",
    [{}, {"bos": "never"}, {"cut": "stream"}, {"preset": "paper"}],
    ids=["default", "bos", "cut", "preset"],
)
def test_a_stage_reads_the_blocks_of_the_grids_settings(
    text_file: Path, changes: dict[str, str]
) -> None:
    text = TextSource(name="t", path=str(text_file))
    settings = CalibrationSettings.model_validate(
        {"text": text, "blocks": 3, "block_tokens": 24} | changes
    )
    given = study(
        calibration=settings,
        text_fingerprints=study().text_fingerprints | {text_id(text): "sha256:t"},
    )
    spec, config = ranking_spec(cell(seed=2), given), tiny_config("llama").to_dict()
    blocks_NT = stage_calibration_blocks(spec, tiny_tokenizer(), config)
    assert blocks_NT.equal(calibration_blocks(tiny_tokenizer(), settings, 2))


def test_a_gemma_reads_bos_at_the_start_of_every_block(text_file: Path) -> None:
    text = TextSource(name="t", path=str(text_file))
    settings = CalibrationSettings(text=text, blocks=3, block_tokens=24)
    given = study(
        calibration=settings,
        text_fingerprints=study().text_fingerprints | {text_id(text): "sha256:t"},
    )
    spec, config = ranking_spec(cell(), given), tiny_config("gemma2").to_dict()
    blocks_NT = stage_calibration_blocks(spec, tiny_tokenizer(adds_bos=False), config)
    assert blocks_NT[:, 0].tolist() == [257] * 3


def test_a_selector_that_reads_no_text_has_no_blocks() -> None:
    spec = ranking_spec(cell(selector=RandomSettings(), gate_l1=None), study())
    assert stage_calibration_blocks(spec, tiny_tokenizer(), {}) is None
