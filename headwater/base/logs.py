"""Where our log lines go in a program that configures no logging: to stderr, with time and level, as Spark's do.

The rule is that of Python's own last resort: a handler of the program's anywhere on a record's way takes it, and then
it isn't shown here. That is looked at with each record, so a program may configure logging before or after us.
"""

from __future__ import annotations

import logging
import sys

from headwater.errors import IllegalArgumentException

# Log4j's levels, by which programs know them, and Python's.
LEVELS = {
    "ALL": 1,
    "DEBUG": logging.DEBUG,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "INFO": logging.INFO,
    "OFF": logging.CRITICAL + 1,
    "TRACE": 5,
    "WARN": logging.WARNING,
}
_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL", "Level 5": "TRACE"}
_OURS = logging.getLogger("headwater")


def level_of(name: object) -> int:
    """Python's number of a level of Spark's.

    Raises:
        IllegalArgumentException: there is no such level.

    >>> level_of("warn")
    30
    """
    level = LEVELS.get(str(name).upper())
    if level is None:
        raise IllegalArgumentException(f"Supplied level {name} did not match one of: {','.join(sorted(LEVELS))}")
    return level


def set_level(name: object) -> None:
    """Set from which level on we log; see `level_of`."""
    _OURS.setLevel(level_of(name))


def show(process: str = "") -> None:
    """Show our records from now on, as long as the program has no handler for them.

    Args:
        process: which of the application's processes this is, unless it's the driver.
    """
    _console.setFormatter(_Layout(f" ({process})" if process else ""))
    _OURS.addHandler(_console)  # once: it's always the same one


class _Layout(logging.Formatter):
    """Spark's: 26/11/29 14:00:00 WARN headwater.context: text"""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(level)s %(name)s{process}: %(message)s", "%y/%m/%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.level = _NAMES.get(record.levelname, record.levelname)
        return super().format(record)


class _Console(logging.Handler):
    """Writes to what is stderr at that moment: notebooks and tests put something else in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None or self._is_taken(record):
            return
        try:
            sys.stderr.write(f"{self.format(record)}\n")  # in one piece: other processes write, too
            sys.stderr.flush()
        except Exception:
            self.handleError(record)

    def _is_taken(self, record: logging.LogRecord) -> bool:
        """Whether another handler is on the record's way from its logger up to the root."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


_console = _Console()
