"""The options of spark-submit, as settings: for `PYSPARK_SUBMIT_ARGS`, which notebooks set in place of a command line.

Options that only a JVM could heed (`--packages`, `--driver-java-options`) become settings like any other: the table
of `headwater.settings` says what each is good for.
"""

from __future__ import annotations

import shlex
import warnings
from collections import deque

from headwater.errors import IllegalArgumentException

VARIABLE = "PYSPARK_SUBMIT_ARGS"


class UnknownOptionWarning(UserWarning):
    """An option isn't one of spark-submit's that are known here; it is ignored."""


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
        IllegalArgumentException: an option lacks its value, or a quote isn't closed.

    Warns:
        UnknownOptionWarning: an option isn't known. What follows it is taken for its value, unless that is an option or
            the last word.

    >>> settings_of("--master local[2] --conf spark.ui.port=4050 --name=clicks pyspark-shell")
    {'spark.master': 'local[2]', 'spark.ui.port': '4050', 'spark.app.name': 'clicks'}
    """
    try:
        words = deque(shlex.split(text))
    except ValueError as error:
        raise IllegalArgumentException(f"{VARIABLE}: {error} in {text!r}") from None
    found: dict[str, str] = {}
    while words and words[0].startswith("-"):  # up to the program: what follows is its own
        option, equals, value = words.popleft().partition("=")
        if option in _SWITCHES:
            continue
        known = option in _OPTIONS or option in ("--conf", "-c")
        if not known:
            warnings.warn(
                f"{VARIABLE}: option {option} isn't known, and is ignored", UnknownOptionWarning, stacklevel=2
            )
        if not equals and (known or (len(words) > 1 and not words[0].startswith("-"))):
            if not words:
                raise IllegalArgumentException(f"{VARIABLE}: {option} has no value")
            value = words.popleft()
        if option in ("--conf", "-c"):
            key, equals, value = value.partition("=")
            if not equals:
                raise IllegalArgumentException(f"{VARIABLE}: {option} {key!r} is not key=value")
            found[key.strip()] = value
        elif _OPTIONS.get(option):
            found[_OPTIONS[option]] = value
    return found
