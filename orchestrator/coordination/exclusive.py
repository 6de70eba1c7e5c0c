"""Files that only one of several writers can create: the ground that claims stand on.

The only module that knows ``obstore``, which has the conditional writes that ``pyarrow.fs`` lacks.
It does not know what the files mean.
"""

import configparser
import errno
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

# What a file system without hard links says of them.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
# The caller waits and asks again by itself.
_RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}


class Creator(Protocol):
    """Creates files below one root."""

    def create(self, path: str, data: bytes) -> bool:
        """Create a file, whole. Returns False, with nothing done, where one stands there."""


class LocalCreator:
    """Creates files of a file system, of this machine or one that several share."""

    def __init__(self, root: str) -> None:
        self._root = root

    def create(self, path: str, data: bytes) -> bool:
        """Create a file, whole: a hard link to a finished draft, which is atomic on NFS, too."""
        target = Path(self._root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            draft.write_bytes(data)
            target.hardlink_to(draft)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_in_place(target, data)
        finally:
            draft.unlink(missing_ok=True)
        return True


def _create_in_place(target: Path, data: bytes) -> bool:
    """Create a file where there are no hard links. A crash in the midst of it leaves it torn."""
    try:
        with target.open("xb") as file:
            try:
                file.write(data)
            except OSError:
                target.unlink(missing_ok=True)
                raise
    except FileExistsError:
        return False
    return True


class ObjectCreator:
    """Creates objects of S3 or GCS by conditional writes."""

    def __init__(self, uri: str, root: str, region: str = "") -> None:
        """``uri``: as pyarrow takes it, its options in the query. ``root``: ``bucket/prefix``.

        ``region``: of the bucket, where the address does not name it.
        """
        self._uri, self._region = uri, region
        self._bucket, _, self._prefix = root.partition("/")

    @cached_property
    def _store(self) -> Any:
        from obstore.store import GCSStore, S3Store

        if urlsplit(self._uri).scheme == "s3":
            return S3Store(self._bucket, **s3_options(self._uri, self._region))
        return GCSStore(self._bucket, **gcs_options(self._uri))

    def create(self, path: str, data: bytes) -> bool:
        """Create an object. Raises OSError as pyarrow would."""
        from obstore import exceptions, put

        try:
            full = f"{self._prefix}/{path}" if self._prefix else path
            put(self._store, full, data, mode="create", use_multipart=False)
        except exceptions.AlreadyExistsError:
            return False
        except exceptions.BaseError as error:
            raise _as_os_error(error) from None  # it holds pages of what its parts say
        return True


def creator_of(uri: str, root: str, region: str) -> Creator:
    """What creates files below ``root``, the place that ``uri`` names: a path or bucket/prefix.

    ``region``: of an S3 bucket, where the address does not name it.
    """
    if urlsplit(uri).scheme in ("s3", "gs", "gcs"):
        return ObjectCreator(uri, root, region)
    return LocalCreator(root)


def _as_os_error(error: Exception) -> OSError:
    """The error of the standard library that says the same as one of obstore's."""
    kinds: Mapping[str, type[OSError]] = {
        "NotFoundError": FileNotFoundError,
        "PermissionDeniedError": PermissionError,
        "UnauthenticatedError": PermissionError,
    }
    return kinds.get(type(error).__name__, OSError)(str(error).partition("\n")[0])


def s3_options(uri: str, region: str = "") -> dict[str, Any]:
    """The arguments of obstore's S3 client that mean what the address means to pyarrow."""
    address = urlsplit(uri)
    asked = {name: values[-1] for name, values in parse_qs(address.query).items()}
    options: dict[str, Any] = {"retry_config": _RETRIES, "client_options": _client(asked)}
    if named := asked.get("region") or region:
        options["region"] = named
    if host := asked.get("endpoint_override"):
        options["endpoint"] = host if "://" in host else f"{asked.get('scheme', 'https')}://{host}"
    if address.username and address.password:
        options["access_key_id"] = unquote(address.username)
        options["secret_access_key"] = unquote(address.password)
    else:
        options |= _profile_credentials()
    if host and asked.get("force_virtual_addressing", "").lower() == "true":
        scheme, _, place = options["endpoint"].partition("://")
        options["endpoint"] = f"{scheme}://{address.hostname}.{place}"
        options["virtual_hosted_style_request"] = True
    return options


def gcs_options(uri: str) -> dict[str, Any]:
    """The arguments of obstore's GCS client that mean what the address means to pyarrow."""
    address = urlsplit(uri)
    asked = {name: values[-1] for name, values in parse_qs(address.query).items()}
    options: dict[str, Any] = {"retry_config": _RETRIES, "client_options": _client(asked)}
    if host := asked.get("endpoint_override"):
        options["base_url"] = f"{asked.get('scheme', 'https')}://{host}"
    if address.username == "anonymous":
        options["skip_signature"] = True
    return options


def _client(asked: Mapping[str, str]) -> dict[str, Any]:
    """What the address says of the connection itself."""
    client: dict[str, Any] = {"timeout": timedelta(seconds=30)}
    if asked.get("scheme") == "http":
        client["allow_http"] = True
    if asked.get("tls_verify_certificates", "").lower() == "false":
        client["allow_invalid_certificates"] = True
    if authority := asked.get("tls_ca_file_path"):
        client["root_certificate"] = Path(authority).read_bytes()
    return client


def _profile_credentials() -> dict[str, str]:
    """The keys of a profile in AWS's file of credentials, which obstore does not read.

    Empty where the environment has keys, or no profile does: there obstore asks the machine.
    """
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    place = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError):
        parser.read(Path(place).expanduser())
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    if not parser.has_section(profile):
        return {}
    names = {
        "access_key_id": "aws_access_key_id",
        "secret_access_key": "aws_secret_access_key",
        "session_token": "aws_session_token",
    }
    keys = {name: parser.get(profile, theirs, fallback="") for name, theirs in names.items()}
    return {name: value for name, value in keys.items() if value}
