"""Chains of per-record operators, compiled into one loop.

The loop's source text depends on the kinds of the operators, and on the expressions of those functions that are simple
enough to stand in the loop themselves (see `inlining`); so it's compiled once per process. If such an expression
raises, the function is called with what it had, so that the user sees the traceback of their own code.

Which operation failed, and on which record, is found out once something has been raised: from the line, and from what
the loop's variables hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from headwater.engine.failureplaces import note, shown
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
    place: str = "",
) -> Iterator[dict[Any, Any]]:
    """Combine the pairs that the steps give by key; yields a dict each time that `full(keys held)`, and a last one.

    `place` names, for errors, the operation that wants pairs.
    """
    steps, records = _last_loop(steps, records)
    loop = _loop(steps, "combine" if create is None else "create", place, merge_value)
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
    place: str = "",
) -> Iterator[list[list[Any]]]:
    """Put the pairs that the steps give into `index(key)`'s bucket; yields all buckets each time that they are full."""
    steps, records = _last_loop(steps, records)
    loop = _loop(steps, "scatter", place)
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
    """A place in the loop where a function's value is needed: a call or, as a template, its expression."""

    text: str
    is_call: bool


class _Line(NamedTuple):
    """What a line of the loop is about, for the case that it raises."""

    function: int  # the position of the function that the line calls, or whose expression it has
    place: int  # the position of its operation: a step, or the ending after all of them
    arguments: tuple[str, ...]  # what the function is given, as expressions
    record: str  # the record, as an expression
    is_call: bool
    takes: str  # what the line itself expects of the record: "", "pair", "exact pair" or, of the value, "iterable"


def _loop(
    steps: Sequence[PerRecord], ending: str, place: str = "", merge: Callable[[Any, Any], Any] | None = None
) -> Callable[..., Any]:
    """The compiled loop with its functions bound: call it with the records and what the ending needs."""
    functions = [step.function for step in steps] + ([merge] if merge is not None else [])
    argument_counts = [1] * len(steps) + [2]
    sites, values = [], []
    for function, count in zip(functions, argument_counts, strict=False):
        simple = inlined(function)
        call = "{f}(" + ", ".join(f"{{{i}}}" for i in range(count)) + ")"
        sites.append(_Site(call if simple is None else simple.text, simple is None))
        values.append(function if simple is None else simple.constant)
    stage = _compile(tuple(step.kind for step in steps), tuple(sites), ending)
    places = [step.place or step.kind for step in steps] + [place or "this operation"]
    return stage(values, functions, places)  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _compile(kinds: tuple[str, ...], sites: tuple[_Site, ...], ending: str) -> Callable[..., Any]:
    source, lines = _source(kinds, sites, ending)
    scope: dict[str, Any] = {"explain": _Explain(lines)}
    exec(compile(source, f"<stage: {' -> '.join([*kinds, ending])}>", "exec"), scope)
    return scope["bind"]  # type: ignore[no-any-return]


def _source(kinds: tuple[str, ...], sites: tuple[_Site, ...], ending: str) -> tuple[str, dict[int, _Line]]:
    """The text of a function that binds the functions and returns the loop; and what its lines are about."""
    names = "".join(f"f{i}, " for i in range(len(sites)))
    text = [
        "def bind(values, functions, places):",
        *([f"    {names}= values"] if names else []),
        f"    def stage({', '.join(['records', *_ENDINGS[ending].arguments])}):",
        "        try:",
        "            for r in records:",
    ]
    lines: dict[int, _Line] = {}
    depth = 4
    record = "r"
    unpacked = False  # whether the last step has taken its pair apart already

    def add(line: str, about: _Line) -> None:
        text.append(_INDENT * depth + line)
        lines[len(text)] = about

    for i, kind in enumerate(kinds):
        step, site = _STEPS[kind], sites[i]
        argument = step.argument.format(r=record)
        call = site.text.format(argument, f=f"f{i}")
        about = _Line(i, i, (argument,), record, site.is_call, step.takes)
        # An expression that makes a pair, as `(r, 1)` does, is taken apart without making it.
        unpacked = i + 1 == len(kinds) and kind == "map" and not site.is_call and _ENDINGS[ending].takes == "pair"
        if unpacked:
            add(f"k, v = {call}", about._replace(place=len(kinds), takes="exact pair"))
            break
        # Each loop has a variable of its own: the record that it's at is known though later steps have others.
        made = f"r{i}" if step.renames else record
        for line in step.lines:
            add(line.format(call=call, i=i, r=record, n=made), about)
        record = made
        depth += step.depth
    merge = sites[-1].text.format("a", "v", f=f"f{len(sites) - 1}") if sites else ""
    about = _Line(len(sites) - 1, len(kinds), ("a", "v"), "(k, v)", True, "")
    if _ENDINGS[ending].takes and not unpacked:
        add(f"k, v = {record}", about._replace(record=record, takes="exact pair"))
    if not _ENDINGS[ending].takes:
        about = about._replace(record=record)
    for line in _ENDINGS[ending].lines:
        merges = "{merge}" in line
        is_call = sites[-1].is_call if merges else True
        add(line.format(merge=merge, r=record), about._replace(is_call=is_call, takes="" if merges else "key"))
    text += [
        "        except Exception as error:",
        "            explain(error, functions, places, locals())",
        "            raise",
        "    return stage",
    ]
    return "\n".join(text) + "\n", lines


class _Explain:
    """Notes where the loop failed; what can be said better than by the loop's own line is raised instead."""

    def __init__(self, lines: Mapping[int, _Line]) -> None:
        self._lines = lines

    def __call__(
        self,
        error: Exception,
        functions: Sequence[Callable[..., Any]],
        places: Sequence[str],
        scope: dict[str, Any],
    ) -> None:
        top = error.__traceback__
        line = None if top is None else self._lines.get(top.tb_lineno)
        if top is None or line is None:
            return  # what gives the records raised
        record = eval(line.record, {}, scope)
        place = places[line.place]
        if top.tb_next is None:  # the line itself raised, or a function written in C
            if line.takes != "exact pair" or line.is_call:
                _refuse(line.takes, place, record, error)
            if not line.is_call:
                try:
                    value = functions[line.function](*(eval(argument, {}, scope) for argument in line.arguments))
                except Exception as again:  # in the function's own frame
                    note(again, places[min(line.function, line.place)], record)
                    raise again from None
                _refuse(line.takes, place, value, error)
        note(error, place, record)


def _refuse(takes: str, place: str, record: Any, error: Exception) -> None:
    """Raise what is wrong with the record, if that is why the line raised."""
    text = _wrong(takes, place, record, error)
    if text:
        better = (ValueError if isinstance(error, ValueError) else TypeError)(text)
        note(better, place, record)
        raise better from None


def _wrong(takes: str, place: str, record: Any, error: Exception) -> str:
    if takes == "iterable" and isinstance(error, TypeError) and "not iterable" in str(error):
        return f"{place} needs a function that returns an iterable: {error}, for the record {shown(record)}"
    try:
        if takes == "pair":
            record[0], record[1]
        elif takes == "exact pair":
            _, _ = record
    except Exception:
        return f"{place} needs (key, value) pairs, got {shown(record)}"
    try:
        if takes == "key":
            hash(record[0])
    except TypeError as unhashable:
        return f"{place} needs keys that can be hashed, got {shown(record[0])}: {unhashable}"
    return ""


class _Step(NamedTuple):
    lines: tuple[str, ...]  # with the record in `{r}` before and in `{n}` after; names of their own end in its number
    argument: str = "{r}"  # what the function is given
    depth: int = 0  # by how much the lines indent what follows
    renames: bool = False  # whether the record before and the one after have different variables
    takes: str = ""  # see `_Line`


class _ChainEnding(NamedTuple):
    lines: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    takes: str = ""  # "pair": as `k` and `v`; "pair and record": the whole pair, too


_STEPS: dict[str, _Step] = {
    "map": _Step(("{n} = {call}",)),
    "flatMap": _Step(("for {n} in {call}:",), depth=1, renames=True, takes="iterable"),
    "filter": _Step(("if {call}:",), depth=1),
    "keys": _Step(("{n} = {r}[0]",), takes="pair"),
    "values": _Step(("{n} = {r}[1]",), takes="pair"),
    "mapValues": _Step(("{n} = ({r}[0], {call})",), "{r}[1]", takes="pair"),
    "flatMapValues": _Step(
        ("k{i} = {r}[0]", "for v{i} in {call}:", "    {n} = (k{i}, v{i})"), "{r}[1]", 1, renames=True, takes="pair"
    ),
}
# The user's merge function stays outside the try, so that a KeyError of its own is not taken for a missing key.
_COMBINE = ("try: a = acc[k]", "except KeyError: acc[k] = v", "else: acc[k] = {merge}")
_CREATE = (_COMBINE[0], "except KeyError: acc[k] = create(v)", _COMBINE[2])
_ENDINGS: dict[str, _ChainEnding] = {
    "yield": _ChainEnding(("yield {r}",)),
    "combine": _ChainEnding(_COMBINE, ("acc", "create"), takes="pair"),
    "create": _ChainEnding(_CREATE, ("acc", "create"), takes="pair"),
    "scatter": _ChainEnding(("appends[index(k)]({r})",), ("appends", "index"), takes="pair and record"),
}
