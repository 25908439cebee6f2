"""Successors: the classes of a program's script that take the place of an earlier script's, by name.

- A class that no module has, as one of the script, is pickled by value. Loaded by another driver's processes it is a
  class of its own, which doesn't equal the script's.
- So what an earlier driver has pickled (keys and values of states, received records) is loaded through here: its
  objects are instances of the program's own classes, and nothing of an old class is kept.
- An object whose class has no successor comes back as it was pickled.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from types import WrapperDescriptorType
from typing import Any

from headwater.base.pickling import dumps, load_records
from headwater.broadcast import Broadcast
from headwater.errors import SerializationError

# Each pickle with a class by value names it.
_BY_VALUE = b"cloudpickle"
Name = tuple[str, str]  # module and qualified name


@dataclass(frozen=True)
class Successors:
    """The classes that take over, picklable.

    Args:
        table: what `class_table` made in the driver that ran the script; broadcast, since methods may refer to a lot.
        upgraded: whether another program pickled what this one loads.
    """

    table: Broadcast[bytes]
    upgraded: bool

    def load(self, pickled: bytes | memoryview) -> Any:
        """An object that `dumps`, or records that `dump_records` wrote; of the program's classes."""
        return self._loaded(pickled)[0]

    def load_keys(self, pickled: bytes | memoryview) -> list[Any]:
        """Keys of a state.

        Raises:
            ValueError: the program is another, and keys are of a class without a successor: equal ones would differ.
        """
        keys, strangers = self._loaded(pickled)
        strange = sorted({each.__qualname__ for each in strangers if not _equals_by_content(each)})
        if strange and self.upgraded:
            raise ValueError(
                f"keys are of the class {', '.join(strange)}, which the new script doesn't have, or several times: "
                "they would never equal its own keys. Give the script's class that name: `OldName = NewName` does"
            )
        return keys  # type: ignore[no-any-return]

    def renew(self, pickled: bytes) -> bytes:
        """The pickle of an object, with the program's classes."""
        return dumps(self.load(pickled)) if _BY_VALUE in pickled else pickled

    def _loaded(self, pickled: bytes | memoryview) -> tuple[Any, Iterable[type]]:
        if _BY_VALUE not in bytes(pickled):
            return load_records(pickled), ()
        unpickler = _Unpickler(io.BytesIO(pickled), self.table.value)
        return unpickler.load(), unpickler.strangers


def class_table(by_value: Iterable[type], *, script: bool) -> bytes:
    """The classes of a program by name; each is pickled by itself, and loaded only where it is wanted.

    Args:
        by_value: those that were pickled by value when the program was.
        script: whether the script's other names count too, so that a class may be imported now, or renamed.
    """
    found: dict[Name, list[type]] = {}
    for each in by_value:
        found.setdefault((each.__module__, each.__qualname__), []).append(each)
    for name, several in found.items():
        # A dataclass with slots was made from another class of its name, to which its methods refer.
        if len(several) > 1 and (meant := _standing(name)) in several:
            several[:] = [meant]
    if script:
        for variable, value in vars(sys.modules["__main__"]).items():
            if isinstance(value, type):
                found.setdefault(("__main__", variable), [value])
    pickled = {name: [*_pickled(classes)] for name, classes in found.items()}
    return dumps({name: classes for name, classes in pickled.items() if classes})


def _standing(name: Name) -> Any:
    """What stands under a name in its module, if anything does."""
    module, qualified = name
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found


def _pickled(classes: Iterable[type]) -> Iterator[bytes]:
    for each in classes:
        with contextlib.suppress(SerializationError):  # its methods refer to what can't travel, so no task uses it
            yield dumps(each)


def _equals_by_content(each: type) -> bool:
    """Whether its objects equal those of another class that have the same contents, as those of named tuples do."""
    equals = each.__eq__
    return isinstance(equals, WrapperDescriptorType) and equals is not object.__eq__


class _Unpickler(pickle.Unpickler):
    """Puts a successor wherever a class by value is about to be made."""

    def __init__(self, file: io.BytesIO, table: bytes) -> None:
        super().__init__(file)
        self._find = _finder(table)
        self._own: set[type] = set()  # of the program: not to be changed
        self.strangers: list[type] = []  # that have no successor

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if not module.startswith("cloudpickle"):
            return found
        if name == "_make_skeleton_class":
            return lambda kind, name, bases, namespace, *ids: self._class(
                (namespace.get("__module__", ""), namespace.get("__qualname__", name)),
                lambda: found(kind, name, bases, namespace, *ids),
            )
        if name == "_make_skeleton_enum":
            return lambda bases, name, qualname, members, module, *ids: self._class(
                (module, qualname), lambda: found(bases, name, qualname, members, module, *ids)
            )
        if name == "_class_setstate":
            return lambda each, state: each if each in self._own else found(each, state)
        return found

    def _class(self, name: Name, make: Callable[[], type]) -> type:
        classes = self._find(name)
        if len(classes) == 1:
            self._own.add(classes[0])
            return classes[0]
        made = make()
        if made in classes:  # one of several with that name; it is known because the program is the same
            self._own.add(made)
        else:
            self.strangers.append(made)
        return made


@lru_cache(maxsize=16)
def _finder(table: bytes) -> Callable[[Name], list[type]]:
    """The program's classes of a name."""
    pickled: dict[Name, list[bytes]] = pickle.loads(table)

    @cache
    def find(name: Name) -> list[type]:
        return [pickle.loads(each) for each in pickled.get(name) or _of_inner_name(pickled, name)]

    return find


def _of_inner_name(pickled: dict[Name, list[bytes]], name: Name) -> list[bytes]:
    """The only class of a name without its outer ones: older pickles have no more of it."""
    found = [each for (module, qualified), each in pickled.items() if (module, qualified.split(".")[-1]) == name]
    return found[0] if len(found) == 1 else []
