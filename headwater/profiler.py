"""Profiles of what tasks do, collected where `spark.python.profile` is true.

Each job's last stage runs under the profiler, with all that its records are computed from in the same tasks; the stages
before a shuffle are not covered. Profiles travel home by an accumulator, one for each RDD that an action was called on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from headwater import accumulators
from headwater.accumulators import Accumulator, AccumulatorParam

__all__ = ["BasicProfiler", "Profiler", "ProfilerCollector"]


class Profiler:
    """What profiles the tasks of an RDD. To use another profiler subclass it, and give the class to `SparkContext`."""

    def __init__(self, ctx: Any = None) -> None:
        """Made in the driver, once for each RDD that is profiled; `ctx` is the SparkContext."""

    def profile(self, func: Callable[..., Any], *args: Any) -> Any:
        """Call `func(*args)` under the profiler, in a task; returns what it returns."""
        raise NotImplementedError

    def stats(self) -> Any:
        """The profile of all tasks so far, a `pstats.Stats` or None. Asked in the driver."""
        raise NotImplementedError

    def show(self, id: int) -> None:
        """Print the profile of the RDD with this number."""
        stats = self.stats()
        if stats is not None:
            print("=" * 60)
            print(f"Profile of RDD<id={id}>")
            print("=" * 60)
            stats.stream = sys.stdout  # it was set to None for the journey
            stats.sort_stats("time", "cumulative").print_stats()

    def dump(self, id: int, path: str) -> None:
        """Write the profile to `<path>/rdd_<id>.pstats`; the directory is made if need be."""
        stats = self.stats()
        if stats is not None:
            os.makedirs(path, exist_ok=True)
            stats.dump_stats(os.path.join(path, f"rdd_{id}.pstats"))


class _StatsParam(AccumulatorParam[Any]):
    """Adds up `pstats.Stats`; the neutral value is None."""

    def zero(self, value: Any) -> Any:
        return None

    def addInPlace(self, value1: Any, value2: Any) -> Any:
        if value1 is None or value2 is None:
            return value1 or value2
        value1.add(value2)
        return value1


class BasicProfiler(Profiler):
    """Profiles by cProfile."""

    def __init__(self, ctx: Any = None) -> None:
        super().__init__(ctx)
        self._accumulator: Accumulator[Any] = accumulators.create(None, _StatsParam())

    def profile(self, func: Callable[..., Any], *args: Any) -> Any:
        import cProfile  # here, since few applications are profiled
        import pstats

        profile = cProfile.Profile()
        try:
            return profile.runcall(func, *args)
        finally:
            stats = pstats.Stats(profile)
            stats.stream = None  # type: ignore[attr-defined]  # a stream can't be pickled
            stats.strip_dirs()
            self._accumulator.add(stats)

    def stats(self) -> Any:
        return self._accumulator.value


class ProfilerCollector:
    """The profiles of an application, in the driver."""

    def __init__(self, profiler_cls: type[Profiler], dump_path: str | None = None) -> None:
        self._profiler_class = profiler_cls
        self._dump_path = dump_path  # where profiles that were not asked for go when the context stops
        self._lock = threading.Lock()  # guards the field below
        self._profilers: dict[int, Profiler] = {}  # by RDD; taken out by show and dump

    def wrap(self, ctx: Any, rdd_id: int, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function such that it runs under the profiler of the RDD."""
        with self._lock:
            if rdd_id not in self._profilers:
                self._profilers[rdd_id] = self._profiler_class(ctx)
            return partial(self._profilers[rdd_id].profile, function)

    def show_profiles(self) -> None:
        """Print all profiles that were collected since the last time."""
        for rdd_id, profiler in self._taken():
            profiler.show(rdd_id)

    def dump_profiles(self, path: str) -> None:
        """Write all profiles that were collected since the last time into a directory."""
        for rdd_id, profiler in self._taken():
            profiler.dump(rdd_id, path)

    def close(self) -> None:
        """Dump what is left, if there is a place for it."""
        if self._dump_path:
            self.dump_profiles(self._dump_path)

    def _taken(self) -> list[tuple[int, Profiler]]:
        with self._lock:
            taken = sorted(self._profilers.items())
            self._profilers.clear()
        return taken
