"""Secrets kept out of what is shown."""

import pytest

from orchestrator.redact import redact, redact_tree


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "cannot reach postgresql://me:pw@db/x, sorry",
            "cannot reach postgresql://***@db/x, sorry",
        ),
        ("http://me:p@w@host:5000/#/x", "http://***@host:5000/#/x"),
        ("'s3://ID:K/E+Y@bucket/x' is bad", "'s3://***@bucket/x' is bad"),
        (
            "s3://bucket/x?access_key=ID&secret_key=K%2FY&region=eu",
            "s3://bucket/x?access_key=***&secret_key=***&region=eu",
        ),
        (
            "https://b/x?X-Amz-Credential=ID&X-Amz-Signature=S&X-Amz-Security-Token=T&n=1",
            "https://b/x?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Security-Token=***&n=1",
        ),
        ("https://b/x?sv=1&sig=abc", "https://b/x?sv=1&sig=***"),
        ("AWS_SECRET_ACCESS_KEY=abc and AWS_ACCESS_KEY_ID=ID", None),
        ("HF_TOKEN=abc, password=abc; MYSQL_PWD=abc", None),
        ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
        ("token hf_abcdefghijklmnopqrstuvwxyz", "token ***"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str | None) -> None:
    hidden = redact(text)
    assert "abc" not in hidden
    assert "ID" not in hidden.replace("KEY_ID", "")
    assert shown in (None, hidden)
    assert redact(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/a@b?x=1",
        "s3://bucket/at@home",
        "block_tokens=32, kv_bytes_per_token=9 and tokens=7",
        "Layout(ranks=1, cpus=2)",
        "sqlite:////home/me/mlflow.db",
        "secret: 5",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_settings_named_like_secrets_are_hidden_whole() -> None:
    settings = {
        "uri": "s3://key:secret@bucket/x",
        "hf_token": "abc",
        "max_kv_bytes_per_token": 98304,
        "nested": [{"password": "abc", "steps": 3, "api_key": None}],
        "block_tokens": 32,
    }
    assert redact_tree(settings) == {
        "uri": "s3://***@bucket/x",
        "hf_token": "***",
        "max_kv_bytes_per_token": 98304,
        "nested": [{"password": "***", "steps": 3, "api_key": None}],
        "block_tokens": 32,
    }
