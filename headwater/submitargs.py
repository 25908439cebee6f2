"""The options of spark-submit, as settings: for `PYSPARK_SUBMIT_ARGS`, which notebooks set in place of a command line.

Options that only a JVM could heed (`--packages`, `--driver-java-options`) become settings like any other: the table
in `conf.py` says what each is good for.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from headwater.errors import IllegalArgumentException

VARIABLE = "PYSPARK_SUBMIT_ARGS"

# Option -> the key that it sets; "": there is nothing here that its value could mean.
_OPTIONS = {
    "--archives": "spark.archives",
    "--class": "",
    "--deploy-mode": "spark.submit.deployMode",
    "--driver-class-path": "spark.driver.extraClassPath",
    "--driver-cores": "spark.driver.cores",
    "--driver-java-options": "spark.driver.extraJavaOptions",
    "--driver-library-path": "spark.driver.extraLibraryPath",
    "--driver-memory": "spark.driver.memory",
    "--exclude-packages": "spark.jars.excludes",
    "--executor-cores": "spark.executor.cores",
    "--executor-memory": "spark.executor.memory",
    "--files": "spark.files",
    "--jars": "spark.jars",
    "--keytab": "",
    "--master": "spark.master",
    "--name": "spark.app.name",
    "--num-executors": "spark.executor.instances",
    "--packages": "spark.jars.packages",
    "--principal": "",
    "--proxy-user": "",
    "--py-files": "spark.submit.pyFiles",
    "--queue": "spark.yarn.queue",
    "--repositories": "spark.jars.repositories",
    "--total-executor-cores": "spark.cores.max",
}
_SWITCHES = frozenset({"--supervise", "--verbose", "-v"})


def settings_of(text: str) -> dict[str, str]:
    """The settings that a command line of spark-submit stands for, up to the program's name.

    Raises:
        IllegalArgumentException: an option lacks its value, is none of spark-submit's, or a quote isn't closed.

    >>> settings_of("--master local[2] --conf spark.ui.port=4050 --name=clicks pyspark-shell")
    {'spark.master': 'local[2]', 'spark.ui.port': '4050', 'spark.app.name': 'clicks'}
    """
    try:
        words = iter(shlex.split(text))
    except ValueError as error:
        raise IllegalArgumentException(f"{VARIABLE}: {error} in {text!r}") from None
    found: dict[str, str] = {}
    for word in words:
        if not word.startswith("-"):
            break  # the program: what follows is its own
        option, has_value, value = word.partition("=")
        if option in _SWITCHES:
            continue
        if option in ("--conf", "-c"):
            key, has_value, value = _value(option, value if has_value else None, words).partition("=")
            if not has_value:
                raise IllegalArgumentException(f"{VARIABLE}: {option} {key!r} is not key=value")
            found[key.strip()] = value
        elif option in _OPTIONS:
            value = _value(option, value if has_value else None, words)
            if _OPTIONS[option]:
                found[_OPTIONS[option]] = value
        else:
            known = ", ".join(sorted({*_OPTIONS, *_SWITCHES, "--conf"}))
            raise IllegalArgumentException(f"{VARIABLE}: unrecognized option {option!r}. Known are {known}")
    return found


def _value(option: str, value: str | None, words: Iterator[str]) -> str:
    value = next(words, None) if value is None else value
    if value is None:
        raise IllegalArgumentException(f"{VARIABLE}: {option} has no value")
    return value
