"""The packages of the extra `sql`: checked before the first of them is imported, so that what is wrong is said once.

PySpark's client is imported in drivers only: workers are to do without, as it takes most of a second.
"""

from __future__ import annotations

import platform
import sys
from importlib import import_module, metadata, util
from types import ModuleType

from headwater.errors import SparkException, see

__all__ = ["check", "import_client"]

_INSTALL = "pip install 'headwater[sql]'"


def check() -> None:
    """See to it that PySpark's client and the engine are there, without importing them.

    Raises:
        SparkException: one of them is missing, or something stands in their way; the message says what to do.
    """
    if "pyspark.sql.connect.session" in sys.modules:
        return
    if _version("pyspark") is not None:
        raise SparkException(
            "The package pyspark is installed beside pyspark-client, and the two overwrite each other's files. "
            "headwater.sql needs the client alone: pip uninstall pyspark pyspark-client, then "
            f"{_INSTALL}{see('the-sql-engine')}"
        )
    if util.find_spec("pysail") is None or util.find_spec("pyspark") is None:
        there = "" if _has_wheel() else f", and there is no wheel of pysail for {platform.platform()}"
        raise SparkException(
            f"SQL needs the packages pysail and pyspark-client{there}: {_INSTALL}{see('the-sql-engine')}"
        )
    client = _version("pyspark-client")
    if client is None or not client.startswith("4.2."):
        raise SparkException(
            f"SQL needs pyspark-client 4.2, and {client} is installed: {_INSTALL}{see('the-sql-engine')}"
        )


def import_client() -> None:
    """Import PySpark's client, whatever the program is.

    Its import looks at `__main__.__file__`, and ends a program that has none: `python -c`, standard input, a shell.

    Raises:
        SparkException: as `check`.
    """
    check()
    main: ModuleType | None = sys.modules.get("__main__")
    bare = main is not None and not hasattr(main, "__file__")
    if main is not None and bare:
        main.__file__ = "<stdin>"
    try:
        import_module("pyspark.sql.connect.session")
    finally:
        if main is not None and bare:
            del main.__file__


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _has_wheel() -> bool:
    if not sys.platform.startswith("linux"):
        return sys.platform in ("darwin", "win32")
    return platform.machine() in ("x86_64", "AMD64") and bool(platform.libc_ver()[0])
