"""S3 and Azure as drivers of fsspec, over obstore: a client in Rust, which spends a fifth of the time on a request."""

from __future__ import annotations

import errno
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import obstore
from fsspec import AbstractFileSystem
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, S3Store

# What adlfs and Azure's own program read, too.
_AZURE_ENVIRONMENT = {
    "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
    "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
    "AZURE_STORAGE_SAS_TOKEN": "sas_key",
}
_STATUS = re.compile(r"status code: (\d+)")


class RefusedError(OSError):
    """The store answered a request with `status`, an error of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _ObjectStore(AbstractFileSystem):  # type: ignore[misc]
    """Paths are `bucket/key`. Any thread may call it.

    Args:
        kind: of obstore's stores.
        config: of it, `client_options` and `retry_config` included.
    """

    def __init__(self, kind: type[S3Store] | type[AzureStore], config: Mapping[str, Any]) -> None:
        super().__init__()
        client = {"allow_http": str(config.get("endpoint")).startswith("http:"), **config.get("client_options", {})}
        self._config = {**config, "client_options": client}
        self._kind = kind
        self._stores: dict[str, Any] = {}  # bucket -> its store; two threads may make one twice

    def _at(self, path: str) -> tuple[Any, str]:
        bucket, _, key = path.partition("/")
        if bucket not in self._stores:
            self._stores[bucket] = self._kind(bucket, **self._config)
        return self._stores[bucket], key

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        store, key = self._at(path)
        with _asking(path):
            try:
                if key:
                    return _told(path, obstore.head(store, key))
            except FileNotFoundError:
                if not any(obstore.list(store, key, chunk_size=1)):
                    raise FileNotFoundError("no such object, and none below") from None
        return _directory(path)

    def ls(self, path: str, **_: Any) -> list[dict[str, Any]]:
        store, key = self._at(path)
        root = path[: len(path) - len(key)].rstrip("/")
        with _asking(path):
            found = obstore.list_with_delimiter(store, key)
        entries = [_told(f"{root}/{each['path']}", each) for each in found["objects"] if each["path"] != key]
        entries += [_directory(f"{root}/{prefix}") for prefix in found["common_prefixes"]]
        if not entries and (alone := self.info(path))["type"] == "file":
            entries = [alone]
        return entries

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        store, key = self._at(path)
        with _asking(path):
            return bytes(obstore.get_range(store, key, start=start, end=end))

    def pipe_file(self, path: str, value: bytes, mode: Literal["create", "overwrite"] = "overwrite") -> None:
        store, key = self._at(path)
        with _asking(path):
            obstore.put(store, key, value, mode=mode)

    def put_file(self, lpath: str, rpath: str) -> None:
        store, key = self._at(rpath)
        with _asking(rpath):
            obstore.put(store, key, Path(lpath))

    def mv(self, path1: str, path2: str) -> None:
        store, key = self._at(path1)
        with _asking(path1):
            obstore.copy(store, key, self._at(path2)[1])
        self.rm(path1)

    def rm(self, path: str, recursive: bool = False) -> None:
        store, key = self._at(path)
        with _asking(path):
            while recursive and (below := _below(store, key)):
                with suppress(FileNotFoundError):  # others remove them too: there are fewer now
                    obstore.delete(store, below)
                    break
            with suppress(FileNotFoundError):
                obstore.delete(store, key)


def _below(store: Any, key: str) -> list[str]:
    return [each["path"] for chunk in obstore.list(store, key, chunk_size=1000) for each in chunk]


class S3FileSystem(_ObjectStore):
    """S3.

    Args:
        profile: of the files in which Amazon's programs keep their credentials.
        config: of obstore's S3Store. Without keys or `skip_signature` the credentials are those that boto3 finds.

    Raises:
        PermissionError: there are none.
    """

    protocol = "s3"

    def __init__(self, profile: str | None = None, **config: Any) -> None:
        if not {"access_key_id", "skip_signature"} & config.keys():
            session = importlib.import_module("boto3").Session(profile_name=profile)
            if session.get_credentials() is None:
                raise PermissionError(
                    "There are no credentials for S3: set spark.hadoop.fs.s3a.access.key and .secret.key, or "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or headwater.filesystem.s3.profile; for public "
                    "buckets set headwater.filesystem.s3.skip_signature=true"
                )
            provider = importlib.import_module("obstore.auth.boto3").Boto3CredentialProvider(session)
            config["credential_provider"] = provider
        super().__init__(S3Store, config)


class AzureFileSystem(_ObjectStore):
    """Azure's blob storage.

    Args:
        config: of obstore's AzureStore; the environment may name the account and its key. Without a key, a signature,
            a client's secret or `skip_signature` the credentials are those that azure-identity finds.

    Raises:
        ValueError: no account is named.
        PermissionError: there are no credentials.
    """

    protocol = "abfs"

    def __init__(self, **config: Any) -> None:
        told = ((option, os.environ.get(name)) for name, option in _AZURE_ENVIRONMENT.items())
        config = {option: value for option, value in told if value} | config
        if not {"account_name", "endpoint"} & config.keys():
            raise ValueError(
                "No account of Azure's storage is named: write abfs://container@account.dfs.core.windows.net/path, or "
                "set headwater.filesystem.abfs.account_name"
            )
        if not {"account_key", "sas_key", "client_secret", "skip_signature"} & config.keys():
            provider = importlib.import_module("obstore.auth.azure").AzureCredentialProvider()
            try:
                provider()
            except Exception as error:
                raise PermissionError(
                    "There are no credentials for Azure's storage: set spark.hadoop.fs.azure.account.key, or one of "
                    f"the others of docs/how-to/filesystems.md. azure-identity: {str(error).partition(chr(10))[0]}"
                ) from error
            config["credential_provider"] = provider
        super().__init__(AzureStore, config)


@contextmanager
def _asking(path: str) -> Iterator[None]:
    """Python's own exceptions for obstore's, without the many lines of what it was doing."""
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        message = f"{path}: {str(error).partition(chr(10))[0]}"
        status = _STATUS.search(message)
        if isinstance(error, FileNotFoundError) or (status and status[1] == "404"):  # there may be no such bucket
            raise FileNotFoundError(message) from None
        if isinstance(error, AlreadyExistsError):
            raise FileExistsError(message) from None
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            raise PermissionError(message) from None
        if "invalid path" in message:
            remedy = "Keys with an empty part (//), a . or a .. can't be listed: rename or remove the object"
            raise OSError(errno.EINVAL, f"{message}. {remedy}") from None
        if status:
            raise RefusedError(message, int(status[1])) from None
        raise ConnectionError(message) from None


def _told(path: str, found: Mapping[str, Any]) -> dict[str, Any]:
    told = {"ETag": (found["e_tag"] or "").strip('"'), "LastModified": found["last_modified"]}
    return {"name": path, "size": found["size"], "type": "file", **told}


def _directory(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}
