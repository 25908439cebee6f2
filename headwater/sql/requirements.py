"""The packages of the extra `sql`: checked before the first of them is imported, so that what is wrong is said once.

PySpark's client is imported in drivers only: workers are to do without, as it takes most of a second.
"""

from __future__ import annotations

import sys
from importlib import metadata, util
from types import ModuleType

from headwater.errors import SparkException, see

__all__ = ["check"]

_INSTALL = "pip install 'headwater[sql]'"
_done = False  # written once, whichever thread is first


def check() -> None:
    """See to it that PySpark's client and the engine can be imported.

    Raises:
        SparkException: one of them is missing, or something stands in their way; the message says what to do.
    """
    global _done
    if _done:
        return
    if _version("pyspark") is not None:
        raise SparkException(
            "The package pyspark is installed beside pyspark-client, and the two overwrite each other's files. "
            "headwater.sql needs the client alone: pip uninstall pyspark pyspark-client, then "
            f"{_INSTALL}{see('sql-engine')}"
        )
    if util.find_spec("pysail") is None or util.find_spec("pyspark") is None:
        platform = "" if _has_wheel() else f" (there are no wheels of pysail for {sys.platform} on this machine)"
        raise SparkException(f"SQL needs the packages pysail and pyspark-client{platform}: {_INSTALL}{see('sql-engine')}")
    client = _version("pyspark-client") or ""
    if not client.startswith("4.2."):
        raise SparkException(f"SQL needs pyspark-client 4.2, and {client or 'no version'} is installed: {_INSTALL}")
    _import_client()
    _done = True


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _has_wheel() -> bool:
    import platform

    machine = platform.machine().lower()
    return not sys.platform.startswith("linux") or (machine in ("x86_64", "amd64") and bool(platform.libc_ver()[0]))


def _import_client() -> None:
    main: ModuleType | None = sys.modules.get("__main__")
    bare = main is not None and not hasattr(main, "__file__")
    if main is not None and bare:
        main.__file__ = "<stdin>"  # importing pyspark looks at it, and ends the program if there is none
    try:
        import pyspark.sql.connect.session
    finally:
        if main is not None and bare:
            del main.__file__
