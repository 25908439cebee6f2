"""Checks of the arguments of public methods, so that a mistake is reported where it is made and not in a task."""

from __future__ import annotations

from typing import Any

from headwater.errors import IllegalArgumentException


def check_function(name: str, function: Any) -> None:
    """Raises TypeError unless the argument `name` can be called."""
    if not callable(function):
        raise TypeError(f"{name} should be a function, got {function!r} of type {type(function).__name__}")


def check_function_or_none(name: str, function: Any) -> None:
    """Raises TypeError unless the argument `name` can be called or is None."""
    if function is not None:
        check_function(name, function)


def check_int(name: str, value: Any) -> None:
    """Raises TypeError unless the argument `name` is an int."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} should be an int, got {value!r} of type {type(value).__name__}")


def check_positive(name: str, value: Any) -> None:
    """Raises TypeError or IllegalArgumentException unless the argument `name` is an int above 0."""
    check_int(name, value)
    if value <= 0:
        raise IllegalArgumentException(f"{name} must be positive, got {value}")


def check_port(name: str, value: Any) -> None:
    """Raises TypeError or ValueError unless the argument `name` is a TCP port."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__} {value!r}")
    if not 0 < value < 65536:
        raise ValueError(f"{name} must be between 1 and 65535, not {value}")


def check_num_partitions(value: Any) -> None:
    """Raises TypeError or IllegalArgumentException unless `numPartitions` is an int of 0 or more."""
    check_int("numPartitions", value)
    if value < 0:
        raise IllegalArgumentException(f"numPartitions must not be negative, got {value}")


def check_not_negative(name: str, value: Any) -> None:
    """Raises TypeError or IllegalArgumentException unless the argument `name` is a number of 0 or more."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} should be a number, got {value!r} of type {type(value).__name__}")
    if not value >= 0:
        raise IllegalArgumentException(f"{name} must not be negative, got {value}")
