"""Secrets stay out of what MLflow is told."""

import json

from orchestrator.tracking.content.redact import redact, redact_tree


def test_secrets_are_hidden_wherever_they_stand() -> None:
    shown = redact("cannot reach postgresql://me:pw@db/x, sorry")
    assert shown == "cannot reach postgresql://***@db/x, sorry"
    settings = {
        "uri": "http://me:pw@host",
        "password": "pw",
        "block_tokens": 512,
        "list": ["s3://k:s@bucket"],
        "hf_token": "hf_x",
    }
    hidden = redact_tree(settings)
    assert "pw" not in json.dumps(hidden)
    assert hidden["block_tokens"] == 512
    assert hidden["hf_token"] == "***"
