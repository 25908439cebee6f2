"""The settings that a context starts with: the program's, completed by what PySpark's contexts set."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

from headwater.conf import SparkConf
from headwater.settings.table import meaningless, without_effect

logger = logging.getLogger("headwater.context")

_DEFAULT_MASTER = "local[*]"
_SHELL_NAME = "pyspark-shell"  # of applications that no file is the program of, as PySpark calls them
# Set so that programs which print or read their configuration find it.
_SET_BY_CONTEXTS = {
    "spark.executor.id": "driver",
    "spark.rdd.compress": "True",
    "spark.serializer.objectStreamReset": "100",
    "spark.submit.deployMode": "client",
    "spark.submit.pyFiles": "",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.port": "0",
    "spark.ui.showConsoleProgress": "false",
}


def complete(
    conf: SparkConf | None,
    master: str | None,
    app_name: str | None,
    spark_home: str | None,
    environment: Mapping[str, str] | None,
) -> SparkConf:
    """A copy of the conf with what the context's other arguments say, and with what Spark itself adds."""
    if conf is not None and not isinstance(conf, SparkConf):
        raise TypeError(f"conf should be a SparkConf, got {conf!r} of type {type(conf).__name__}")
    completed = conf.clone() if conf is not None else SparkConf()
    for key, value in (("spark.master", master), ("spark.app.name", app_name), ("spark.home", spark_home)):
        if value is not None:
            completed.set(key, value)
    for name, value in (environment or {}).items():
        completed.setExecutorEnv(name, value)
    completed.setIfMissing("spark.app.name", _script_name())
    completed.setIfMissing("spark.master", _DEFAULT_MASTER)
    for key, value in _SET_BY_CONTEXTS.items():
        completed.setIfMissing(key, value)
    return completed


def _script_name() -> str:
    """The file name of the program that runs; for `python -m`, the module's name."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return os.path.basename(getattr(main, "__file__", None) or "") or _SHELL_NAME


def report(conf: SparkConf) -> None:
    """Log which settings don't do what they say, or have no meaning here."""
    pairs = dict(conf.getAll())
    idle = without_effect(pairs)
    if idle:
        logger.warning("%s %s no effect yet", ", ".join(idle), "has" if len(idle) == 1 else "have")
    ignored = [key for key in meaningless(pairs) if key not in _SET_BY_CONTEXTS]
    if ignored:
        logger.info("accepted, and without meaning here (docs/reference/configuration.md): %s", ", ".join(ignored))


def paths(text: str) -> list[str]:
    """The paths of a comma-separated list."""
    return list(filter(None, map(str.strip, text.split(","))))
