"""Chains of per-record operators, compiled into one loop.

The loop's source text depends on the kinds of the operators, and on the expressions of those functions that are simple
enough to stand in the loop themselves (see `inlining`); so it's compiled once per process. If such an expression
raises, the function is called with what it had, so that the user sees the traceback of their own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from headwater.engine.inlining import inlined
from headwater.engine.lineage import PerRecord

# Records between two looks at the memory budget: often enough for records of some kilobytes, too rare to be felt.
_RECORDS_PER_CHECK = 4096
_INDENT = "    "
# Python nests 20 blocks at most, the loop's own among them.
_STEPS_PER_LOOP = 12


def transform(steps: Sequence[PerRecord], records: Iterable[Any]) -> Iterable[Any]:
    """The records after all steps, lazily.

    A single step isn't left to the built-in map or filter, which take a user's StopIteration for the end of the data.
    """
    while steps:
        loop, steps = steps[:_STEPS_PER_LOOP], steps[_STEPS_PER_LOOP:]
        records = _loop(loop, "yield")(records)
    return records


def _last_loop(steps: Sequence[PerRecord], records: Iterable[Any]) -> tuple[Sequence[PerRecord], Iterable[Any]]:
    """The steps that fit the loop that ends the stage, and the records that all others give."""
    split = max(len(steps) - _STEPS_PER_LOOP, 0)
    return steps[split:], transform(steps[:split], records)


def combine(
    steps: Sequence[PerRecord],
    records: Iterable[Any],
    create: Callable[[Any], Any] | None,
    merge_value: Callable[[Any, Any], Any],
    full: Callable[[int], bool],
) -> Iterator[dict[Any, Any]]:
    """Combine the pairs that the steps give by key; yields a dict each time that `full(keys held)`, and a last one."""
    steps, records = _last_loop(steps, records)
    loop = _loop(steps, "combine" if create is None else "create", merge_value)
    combined: dict[Any, Any] = {}
    source = iter(records)
    while piece := list(islice(source, _RECORDS_PER_CHECK)):
        loop(piece, combined, create)
        if len(piece) == _RECORDS_PER_CHECK and full(len(combined)):
            yield combined
            combined = {}
    yield combined


def scatter(
    steps: Sequence[PerRecord],
    records: Iterable[Any],
    index: Callable[[Any], int],
    partitions: int,
    full: Callable[[int], bool],
) -> Iterator[list[list[Any]]]:
    """Put the pairs that the steps give into `index(key)`'s bucket; yields all buckets each time that they are full."""
    steps, records = _last_loop(steps, records)
    loop = _loop(steps, "scatter")
    buckets: list[list[Any]] = [[] for _ in range(partitions)]
    source = iter(records)
    while piece := list(islice(source, _RECORDS_PER_CHECK)):
        loop(piece, [bucket.append for bucket in buckets], index)
        if len(piece) == _RECORDS_PER_CHECK and full(sum(map(len, buckets))):
            yield buckets
            buckets = [[] for _ in range(partitions)]
    yield buckets


# ------------------------------------------------------------------------------------------------ compiling
class _Site(NamedTuple):
    """A place in the loop where a function's value is needed: its arguments and, as a template, its expression."""

    text: str
    arguments: tuple[str, ...]
    is_call: bool


def _loop(
    steps: Sequence[PerRecord], ending: str, merge: Callable[[Any, Any], Any] | None = None
) -> Callable[..., Any]:
    """The compiled loop with its functions bound: call it with the records and what the ending needs."""
    functions = [step.function for step in steps] + ([merge] if merge is not None else [])
    argument_lists = [(_STEPS[step.kind].argument,) for step in steps] + [("a", "v")]
    sites, values = [], []
    for function, arguments in zip(functions, argument_lists, strict=False):
        simple = inlined(function)
        call = "{f}(" + ", ".join(f"{{{i}}}" for i in range(len(arguments))) + ")"
        sites.append(_Site(call if simple is None else simple.text, arguments, simple is None))
        values.append(function if simple is None else simple.constant)
    stage = _compile(tuple(step.kind for step in steps), tuple(sites), ending)
    return stage(values, functions)  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _compile(kinds: tuple[str, ...], sites: tuple[_Site, ...], ending: str) -> Callable[..., Any]:
    source, lines = _source(kinds, sites, ending)
    scope: dict[str, Any] = {"explain": _Explain(lines, sites)}
    exec(compile(source, f"<stage: {' -> '.join([*kinds, ending])}>", "exec"), scope)
    return scope["bind"]  # type: ignore[no-any-return]


def _source(kinds: tuple[str, ...], sites: tuple[_Site, ...], ending: str) -> tuple[str, dict[int, int]]:
    """The text of a function that binds the functions and returns the loop; and which line holds which inlined site."""
    expressions = [site.text.format(*site.arguments, f=f"f{i}") for i, site in enumerate(sites)]
    names = "".join(f"f{i}, " for i in range(len(sites)))
    lines = [
        "def bind(values, functions):",
        *([f"    {names}= values"] if names else []),
        f"    def stage({', '.join(['records', *_ENDINGS[ending].arguments])}):",
        "        try:",
        "            for r in records:",
    ]
    at: dict[int, int] = {}
    depth = 4
    last = len(kinds) - 1
    unpacked = False  # whether the last step has taken its pair apart already
    for i, kind in enumerate(kinds):
        if not sites[i].is_call:
            at[len(lines) + 1 + (kind == "flatMapValues")] = i
        template = _STEPS[kind]
        unpacked = i == last and kind == "map" and _ENDINGS[ending].takes_pairs
        text = ("k, v = {call}",) if unpacked else template.lines
        lines += [_INDENT * depth + line.format(call=expressions[i], i=i) for line in text]
        depth += template.depth
    if _ENDINGS[ending].takes_pairs:
        if not unpacked:
            lines.append(_INDENT * depth + "k, v = r")
        if not sites[-1].is_call:
            at[len(lines) + _ENDINGS[ending].merge_line] = len(sites) - 1
    merge = expressions[-1] if expressions else ""
    lines += [_INDENT * depth + line.format(merge=merge) for line in _ENDINGS[ending].lines]
    lines += [
        "        except Exception as error:",
        "            explain(error, functions, locals())",
        "            raise",
        "    return stage",
    ]
    return "\n".join(lines) + "\n", at


class _Explain:
    """Raises what the function of an inlined expression raises, in its own frame, where the expression raised."""

    def __init__(self, lines: Mapping[int, int], sites: Sequence[_Site]) -> None:
        self._lines = lines
        self._sites = sites

    def __call__(self, error: Exception, functions: Sequence[Callable[..., Any]], scope: dict[str, Any]) -> None:
        top = error.__traceback__
        if top is None or top.tb_next is not None:
            return  # a called function raised: its frame is in the traceback
        number = self._lines.get(top.tb_lineno)
        if number is not None:
            try:
                functions[number](*(eval(argument, {}, scope) for argument in self._sites[number].arguments))
            except Exception as again:
                raise again from None


class _Step(NamedTuple):
    lines: tuple[str, ...]  # with the record in `r`, before and after; names of their own end in the step's number
    argument: str  # what the function is given
    depth: int  # by how much the lines indent what follows


class _Ending(NamedTuple):
    lines: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    takes_pairs: bool = False  # as `k` and `v`; then the last function merges
    merge_line: int = 0  # counted from 1


_STEPS: dict[str, _Step] = {
    "map": _Step(("r = {call}",), "r", 0),
    "flatMap": _Step(("for r in {call}:",), "r", 1),
    "filter": _Step(("if {call}:",), "r", 1),
    "mapValues": _Step(("r = (r[0], {call})",), "r[1]", 0),
    "flatMapValues": _Step(("k{i} = r[0]", "for v{i} in {call}:", "    r = (k{i}, v{i})"), "r[1]", 1),
}
# The user's merge function stays outside the try, so that a KeyError of its own is not taken for a missing key.
_COMBINE = ("try: a = acc[k]", "except KeyError: acc[k] = v", "else: acc[k] = {merge}")
_CREATE = (_COMBINE[0], "except KeyError: acc[k] = create(v)", _COMBINE[2])
_ENDINGS: dict[str, _Ending] = {
    "yield": _Ending(("yield r",)),
    "combine": _Ending(_COMBINE, ("acc", "create"), takes_pairs=True, merge_line=3),
    "create": _Ending(_CREATE, ("acc", "create"), takes_pairs=True, merge_line=3),
    "scatter": _Ending(("appends[index(r[0])](r)",), ("appends", "index")),
}
