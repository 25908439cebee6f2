"""Small things that PySpark offers to programs and to the libraries on top of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

__all__ = ["InheritableThread", "fail_on_stopiteration", "inheritable_thread_target", "keyword_only", "since"]

F = TypeVar("F", bound=Callable[..., Any])


def keyword_only(func: F) -> F:
    """A method that takes keyword arguments only, and leaves those of the latest call in `self._input_kwargs`.

    >>> class Model:
    ...     @keyword_only
    ...     def set(self, *, depth=3, rate=0.1):
    ...         return self._input_kwargs
    >>> Model().set(depth=5)
    {'depth': 5}
    """

    @wraps(func)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise TypeError(f"Method {func.__name__} forces keyword arguments.")
        self._input_kwargs = kwargs
        return func(self, **kwargs)

    return wrapper  # type: ignore[return-value]


def since(version: str | float) -> Callable[[F], F]:
    """A decorator that notes in a function's docstring since which version there is the function."""

    def note(func: F) -> F:
        text = func.__doc__ or ""
        indents = [len(spaces) for spaces in re.findall(r"\n( +)", text)]
        func.__doc__ = f"{text.rstrip()}\n\n{' ' * min(indents, default=0)}.. versionadded:: {version}"
        return func

    return note


def fail_on_stopiteration(f: F) -> F:
    """A function whose StopIteration is a RuntimeError, so that no loop around it takes it for the end of its data.

    Functions that RDDs and streams are given need no such care.
    """

    @wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError(f"StopIteration was raised by {f.__name__}, not by the data's end") from error

    return wrapper  # type: ignore[return-value]


class InheritableThread(threading.Thread):
    """A thread whose jobs begin with the local properties of the thread that starts it: its job group, and so on.

    >>> sc.setJobGroup("nightly", "")
    >>> thread = InheritableThread(target=lambda: print(sc.getLocalProperty("spark.jobGroup.id")))
    >>> thread.start(); thread.join()
    nightly
    >>> sc.setLocalProperty("spark.jobGroup.id", None)
    """

    def start(self) -> None:
        """Start the thread, with this thread's properties."""
        self.run = inheritable_thread_target(self.run)  # type: ignore[method-assign]
        super().start()


def inheritable_thread_target(f: F) -> F:
    """A function that sets, in the thread that calls it, the local properties that this thread has now."""
    from headwater.context import SparkContext

    context = SparkContext._active_spark_context
    properties = context.job_properties if context is not None else {}

    @wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if context is not None:
            context.job_properties = properties
        return f(*args, **kwargs)

    return wrapper  # type: ignore[return-value]
