"""Tokens: where they are found, and what is said where they are not."""

from pathlib import Path

import pytest

from orchestrator.ray_backend.submission.tokens import find_token, refusal


def test_the_token_of_the_environment_comes_first(tmp_path: Path) -> None:
    _save(tmp_path / ".ray" / "auth_token", "of-file")
    found = find_token({"RAY_AUTH_TOKEN": " of-environment\n"}, tmp_path)
    assert found is not None
    assert (found.value, found.source) == ("of-environment", "RAY_AUTH_TOKEN")


def test_a_named_file_comes_before_the_one_at_home(tmp_path: Path) -> None:
    _save(tmp_path / ".ray" / "auth_token", "of-home")
    _save(tmp_path / "named", "of-named\n")
    found = find_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "named")}, tmp_path)
    assert found is not None
    assert found.headers == {"Authorization": "Bearer of-named"}


@pytest.mark.parametrize("written", [None, "", " \n"])
def test_no_file_and_an_empty_one_are_no_token(tmp_path: Path, written: str | None) -> None:
    if written is not None:
        _save(tmp_path / ".ray" / "auth_token", written)
    assert find_token({}, tmp_path) is None


def test_a_token_does_not_show(tmp_path: Path) -> None:
    found = find_token({"RAY_AUTH_TOKEN": "s3cret"}, tmp_path)
    assert "s3cret" not in f"{found!r} {found} {refusal('http://head:8265', found)}"


def test_a_refusal_says_where_a_token_is_looked_for_or_came_from() -> None:
    assert "`ray get-auth-token` prints it" in refusal("http://head:8265", None)
    wrong = refusal("http://head:8265", find_token({"RAY_AUTH_TOKEN": "x"}, Path("/none")))
    assert "does not take the token of RAY_AUTH_TOKEN" in wrong


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
