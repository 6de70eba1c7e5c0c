"""Files that only one can create: on a file system, with hard links and without, and in a cloud."""

import errno
import os
from pathlib import Path

import pytest

from orchestrator.coordination.exclusive import LocalCreator, gcs_options, s3_options


@pytest.fixture(params=["links", "no links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and one on a file system without hard links."""
    if request.param == "no links":

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    return tmp_path


def test_only_the_first_creates_a_file_and_nothing_else_is_left(folder: Path) -> None:
    creator = LocalCreator(str(folder))
    assert creator.create("a/b.json", b"first")
    assert not creator.create("a/b.json", b"second")
    assert [path.name for path in (folder / "a").iterdir()] == ["b.json"]
    assert (folder / "a" / "b.json").read_bytes() == b"first"


def test_a_full_disk_is_an_error_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(OSError, match="No space left"):
        LocalCreator(str(tmp_path)).create("b.json", b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials in the environment, and an empty file of them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    place = tmp_path / "credentials"
    place.write_text("")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(place))
    return place


def test_the_address_means_to_the_client_what_it_means_to_pyarrow(no_keys: Path) -> None:
    uri = "s3://key:se%2Fcret@bucket/p?region=eu-west-1&endpoint_override=host:9000&scheme=http"
    options = s3_options(uri)
    assert options["region"] == "eu-west-1"
    assert options["endpoint"] == "http://host:9000"
    assert (options["access_key_id"], options["secret_access_key"]) == ("key", "se/cret")
    assert options["client_options"]["allow_http"]
    assert "virtual_hosted_style_request" not in options
    assert s3_options("s3://bucket/p", region="us-west-2")["region"] == "us-west-2"


def test_a_bucket_may_be_part_of_the_hosts_name(no_keys: Path) -> None:
    options = s3_options("s3://bucket/p?endpoint_override=host&force_virtual_addressing=true")
    assert options["endpoint"] == "https://bucket.host"
    assert options["virtual_hosted_style_request"]


def test_keys_of_a_profile_are_read_where_the_environment_has_none(
    no_keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_keys.write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b%c\n"
        "[other]\naws_access_key_id = x\naws_secret_access_key = y\naws_session_token = z\n"
    )
    assert s3_options("s3://bucket/p")["secret_access_key"] == "b%c"
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert s3_options("s3://bucket/p")["session_token"] == "z"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    assert "access_key_id" not in s3_options("s3://bucket/p")


def test_of_gcs_the_endpoint_and_anonymous_use_are_known() -> None:
    options = gcs_options("gs://anonymous@bucket/p?endpoint_override=host:1&scheme=http")
    assert options["base_url"] == "http://host:1"
    assert options["skip_signature"]
    assert "base_url" not in gcs_options("gs://bucket/p")
