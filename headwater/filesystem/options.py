"""Where a URL leads: which driver of fsspec serves it, and with which of the application's settings.

- Hadoop's keys (`spark.hadoop.fs.s3a.*` and its like) become the driver's storage options; an option without such a key
  is set by `headwater.filesystem.<scheme>.<option>`, which wins.
- The settings are the process's: the driver's are those of its context, and travel to executors and workers. Before
  there is a context, those that a new SparkConf begins with count.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.base import cipher
from headwater.conf import SparkConf
from headwater.errors import IllegalArgumentException
from headwater.settings.kinds import Duration
from headwater.settings.secrets import is_secret
from headwater.settings.setting import Setting

Options = dict[str, Any]

_HADOOP = "spark.hadoop."
_OURS = "headwater.filesystem."
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
# Scheme -> fsspec's name of what serves it, where that differs. webhdfs has its own.
_DRIVERS = {
    **dict.fromkeys(("s3a", "s3n"), "s3"),
    **dict.fromkeys(("abfss", "wasb", "wasbs", "az"), "abfs"),
    "gcs": "gs",
    "swebhdfs": "webhdfs",
}
# A rename copies, and a file appears when it's closed. Of others we assume what a file system does.
_OBJECT_STORES = frozenset({"s3", "abfs", "gs", "oss", "oci", "obs", "cos", "r2", "b2", "swift"})
# By itself the client would wait for minutes, in silence, for a name node that is away: here `retries` waits.
_HDFS_PATIENCE = {
    "dfs.client.failover.max.attempts": "2",  # there may be two name nodes
    "dfs.client.failover.sleep.base.millis": "100",
    "dfs.client.failover.sleep.max.millis": "500",
}
_ATTEMPTS = 2  # of each request, by the client itself; then `retries` waits
EXTRAS = {"s3": "s3", "abfs": "azure", "gs": "gcs", "hdfs": "hdfs", "webhdfs": "hdfs"}


@dataclass(frozen=True, slots=True)
class Location:
    """Where a URL leads."""

    driver: str  # fsspec's name of it
    options: Options
    root: str  # what the URL has before its path: scheme and authority
    authority: str
    path: str  # empty, or begins with /
    object_store: bool


# ------------------------------------------------------------------------------------------------ this process
_lock = threading.Lock()  # guards both below
_settings: Mapping[str, str] | None = None
_version = 0  # of the settings: drivers that were made by others aren't used any more


def relevant(pairs: Mapping[str, str]) -> dict[str, str]:
    """The settings that file systems read, and those that say whether anything may be on disk unencrypted."""
    return {key: value for key, value in pairs.items() if key.startswith((_HADOOP, _OURS, *cipher.SETTINGS))}


def configure(pairs: Mapping[str, str]) -> None:
    """Have this process reach file systems by these settings."""
    global _settings, _version
    with _lock:
        if (found := relevant(pairs)) != _settings:
            _settings = found
            _version += 1


def settings() -> tuple[Mapping[str, str], int]:
    """This process's settings of file systems, and how often they were changed."""
    with _lock:
        if _settings is not None:
            return _settings, _version
    return relevant(dict(SparkConf().getAll())), 0


# ------------------------------------------------------------------------------------------------ URLs
def is_url(path: str) -> bool:
    """Whether it is `scheme://...`."""
    return _URL.match(path) is not None


def locate(url: str, pairs: Mapping[str, str]) -> Location:
    """Where a URL leads, by the settings `pairs`.

    Raises:
        IllegalArgumentException: the URL lacks a part, and no setting gives it.
    """
    match = _URL.match(url)
    assert match is not None
    scheme, authority, path = match[1].lower(), match[2], match[3].rstrip("/")
    driver = _DRIVERS.get(scheme, scheme)
    if driver in ("hdfs", "webhdfs") and not authority:
        authority = _default_authority(url, pairs)
    hadoop = {key.removeprefix(_HADOOP): value for key, value in pairs.items() if key.startswith(_HADOOP)}
    translate = _TRANSLATORS.get(driver)
    options = translate(hadoop, authority, scheme) if translate else {}
    for name in dict.fromkeys((driver, scheme)):
        options |= _own_options(f"{_OURS}{name}.", pairs)
    return Location(driver, options, f"{match[1]}://{authority}", authority, path, driver in _OBJECT_STORES)


def _default_authority(url: str, pairs: Mapping[str, str]) -> str:
    default = _URL.match(pairs.get(_HADOOP + "fs.defaultFS", ""))
    if default is None:
        raise IllegalArgumentException(
            f"{url} names no name node. Write hdfs://host:port/path, or set spark.hadoop.fs.defaultFS to hdfs://host:port"
        )
    return default[2]


def _own_options(prefix: str, pairs: Mapping[str, str]) -> Options:
    """Storage options under their own names: JSON objects, lists and truth values as such, the rest as text."""
    options: Options = {}
    for key, text in pairs.items():
        if key.startswith(prefix):
            options[key.removeprefix(prefix)] = _value(key, text)
    return options


def _value(key: str, text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.isdigit() and not is_secret(key):
        return int(text)
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise IllegalArgumentException(f"{key} begins as JSON, and isn't: {error}") from None


# ------------------------------------------------------------------------------------------------ Hadoop's keys
def _s3(hadoop: Mapping[str, str], bucket: str, scheme: str) -> Options:
    found = _merged(hadoop, "fs.s3.", "fs.s3n.", "fs.s3a.", f"fs.s3a.bucket.{bucket}.")
    options = _renamed(found, {"awsAccessKeyId": "access_key_id", "awsSecretAccessKey": "secret_access_key"})
    options |= _renamed(
        found,
        {
            "access.key": "access_key_id",
            "secret.key": "secret_access_key",
            "session.token": "session_token",
            "endpoint.region": "region",
        },
    )
    client: Options = {}
    path_style = found.get("path.style.access", "").lower()
    if endpoint := found.get("endpoint"):
        secure = found.get("connection.ssl.enabled", "true").lower() == "true"
        protocol, host = endpoint.split("://") if "://" in endpoint else ("https" if secure else "http", endpoint)
        in_host = path_style == "false"  # if nothing is said, self-hosted servers take it in the path
        options |= {"endpoint": f"{protocol}://{bucket}.{host}" if in_host else f"{protocol}://{host}"}
        options |= {"virtual_hosted_style_request": in_host}
    else:
        options["virtual_hosted_style_request"] = path_style != "true"
    if "connection.maximum" in found:
        client["pool_max_idle_per_host"] = found["connection.maximum"]
    for key, name in (("connection.timeout", "timeout"), ("connection.establish.timeout", "connect_timeout")):
        if key in found:
            client[name] = f"{_milliseconds(f'fs.s3a.{key}', found[key])} ms"
    if "Anonymous" in found.get("aws.credentials.provider", ""):
        options["skip_signature"] = True
    if found.get("requester.pays.enabled", "").lower() == "true":
        options["request_payer"] = True
    encryption = found.get("encryption.algorithm") or found.get("server-side-encryption-algorithm")
    if encryption:
        options["server_side_encryption"] = "aws:kms" if encryption == "SSE-KMS" else encryption
        if key_id := found.get("encryption.key") or found.get("server-side-encryption.key"):
            options["sse_kms_key_id"] = key_id
    retries = int(found.get("attempts.maximum", _ATTEMPTS)) - 1
    return {"client_options": client, "retry_config": {"max_retries": max(0, retries)}, **options}


def _azure(hadoop: Mapping[str, str], authority: str, scheme: str) -> Options:
    options: Options = {"retry_config": {"max_retries": _ATTEMPTS - 1}}
    container, at, host = authority.rpartition("@")
    account = host.partition(".")[0] if at else ""
    if account:
        options["account_name"] = account

    def of_account(key: str) -> str | None:
        """The value for this account, under its host by either of the services' names, or for all."""
        services = (f"{account}.{service}.core.windows.net" for service in ("dfs", "blob"))
        names = (f"{key}.{host}", *(f"{key}.{service}" for service in services), key)
        return next((hadoop[name] for name in names if name in hadoop), None)

    if key := of_account("fs.azure.account.key"):
        options["account_key"] = key
    if sas := of_account("fs.azure.sas.fixed.token") or hadoop.get(f"fs.azure.sas.{container}.{host}"):
        options["sas_key"] = sas.removeprefix("?")
    if client := of_account("fs.azure.account.oauth2.client.id"):
        options["client_id"] = client
        options["client_secret"] = of_account("fs.azure.account.oauth2.client.secret")
        if endpoint := of_account("fs.azure.account.oauth2.client.endpoint"):  # .../<tenant>/oauth2/token
            options["tenant_id"] = endpoint.partition("://")[2].split("/")[1]
    return options


def _google(hadoop: Mapping[str, str], bucket: str, scheme: str) -> Options:
    options = _renamed(
        hadoop,
        {
            "google.cloud.auth.service.account.json.keyfile": "token",
            "fs.gs.auth.service.account.json.keyfile": "token",
            "fs.gs.project.id": "project",
            "fs.gs.storage.root.url": "endpoint_url",
            "fs.gs.requester.pays.project.id": "requester_pays",
        },
    )
    if hadoop.get("fs.gs.auth.type") == "UNAUTHENTICATED" or hadoop.get("fs.gs.auth.null.enable", "").lower() == "true":
        options["token"] = "anon"
    return {"use_listings_cache": False, **options}


def _hdfs(hadoop: Mapping[str, str], authority: str, scheme: str) -> Options:
    host, port = _host_and_port(authority)
    ours = ("dfs.", "fs.defaultFS", "hadoop.")
    options: Options = {key: value for key, value in hadoop.items() if key.startswith(ours)}
    return {"host": host, **({"port": port} if port else {}), **_HDFS_PATIENCE, **options}


def _webhdfs(hadoop: Mapping[str, str], authority: str, scheme: str) -> Options:
    secure = scheme == "swebhdfs"
    host, port = _host_and_port(authority)
    options: Options = {"host": host, "port": port or (9871 if secure else 9870), "use_https": secure}
    if user := hadoop.get("hadoop.user.name"):
        options["user"] = user
    return options


def _host_and_port(authority: str) -> tuple[str, int | None]:
    host, colon, port = authority.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() else (authority, None)


def _merged(hadoop: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """The settings below any of the prefixes, without it; later prefixes win."""
    found: dict[str, str] = {}
    for prefix in prefixes:
        found |= {key.removeprefix(prefix): value for key, value in hadoop.items() if key.startswith(prefix)}
    return found


def _renamed(found: Mapping[str, str], names: Mapping[str, str]) -> Options:
    return {name: found[key] for key, name in names.items() if found.get(key)}


def _milliseconds(key: str, text: str) -> int:
    return int(Setting(_HADOOP + key, Duration(), "", "").parse(text))


_TRANSLATORS: dict[str, Callable[[Mapping[str, str], str, str], Options]] = {
    "s3": _s3,
    "abfs": _azure,
    "gs": _google,
    "hdfs": _hdfs,
    "webhdfs": _webhdfs,
}
