"""The model card says what went, from which revision, and with what scores."""

from pathlib import Path

import yaml

from trsp.checkpoints.model_card import model_card


def card(**changes: object) -> str:
    given = {
        "name": "tiny-pruned",
        "source": "someone/tiny",
        "revision": "0123abc",
        "layers": 6,
        "removed_layers": (4, 1),
        "settings": {"selector": "gates", "gate_l1": 0.005},
        "scores": {"perplexity/wiki": 31.234567},
        "dense_scores": {"perplexity/wiki": 27.6},
    }
    return model_card(**(given | changes))  # type: ignore[arg-type]


def test_card_says_what_went_from_which_revision_and_with_what_scores() -> None:
    text = card(license_id="apache-2.0")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "someone/tiny",
        "license": "apache-2.0",
        "tags": ["trsp", "layer-pruning"],
    }
    assert "`someone/tiny` at revision `0123abc` with 2 of its 6" in body
    assert "**1, 4**" in body
    assert "| gate_l1 | 0.005 |" in body
    assert "| perplexity/wiki | 31.23 | 27.6 |" in body


def test_card_of_a_local_model_tells_nobody_where_it_lay(tmp_path: Path) -> None:
    text = card(source=str(tmp_path / "secret" / "tiny"), revision=None, scores=None)
    assert "secret" not in text
    assert "`tiny` with 2" in text
    assert "base_model" not in text
    assert "## Scores" not in text
