"""Row: a tuple whose fields may have names.

- A row with names is of a subclass of `Row` that all rows with these names share: it holds the names, so that a row
  itself is no larger than a tuple.
- The subclass is made when names are first seen, and again where they come out of a pickle: it is never pickled.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar

from headwater.errors import IllegalStateException

__all__ = ["Row", "row_maker"]

_KINDS_MAX = 1024  # subclasses that are kept, of 2 kB each; one that is no longer kept lives on with its rows

_new = tuple.__new__

# What a class needs to read the value at a position as an attribute, in C. Fields behind these take the longer way.
_AT_POSITION: list[Any] = [
    getter for name, getter in vars(namedtuple("_", [f"at{i}" for i in range(64)])).items() if name.startswith("at")
]


class Row(tuple[Any, ...]):
    """A record with fields, which are reached by name or by position. Equal to the tuple of its values.

    With names (`Row(name="Ann", age=7)`) it is a record, whose fields keep their order. Without (`Row("name", "age")`)
    its values serve as the names of records that are made by calling it.

    Raises:
        ValueError: there are values with and without names.

    >>> ann = Row(name="Ann", age=7)
    >>> ann.age, ann["name"], ann[1], "age" in ann, ann
    (7, 'Ann', 7, True, Row(name='Ann', age=7))
    >>> Person = Row("name", "age")
    >>> Person("Bob", 8).asDict()
    {'name': 'Bob', 'age': 8}
    """

    __slots__ = ()
    __names__: ClassVar[tuple[str, ...] | None] = None
    __size__: ClassVar[int]  # how many values there are for the names: at most one for each
    __root__: ClassVar[type[Row]]  # Row, or what a program derived from it
    __kinds__: ClassVar[dict[tuple[str, ...], type[Row]]]  # of the root, by their names: quicker to ask than `_maker`

    def __init_subclass__(cls) -> None:
        if "__names__" not in vars(cls):
            cls.__root__ = cls
            cls.__kinds__ = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Row:
        if not kwargs:
            return _new(cls.__root__, args)
        if args:
            raise ValueError("Can not use both args and kwargs to create Row")
        try:
            return _new(cls.__kinds__[tuple(kwargs)], kwargs.values())
        except KeyError:
            names = tuple(kwargs)
            kind = _maker(cls.__root__, names, len(names)).kind
            if len(cls.__kinds__) == _KINDS_MAX:
                cls.__kinds__.clear()
            cls.__kinds__[names] = kind
            return _new(kind, kwargs.values())

    def asDict(self, recursive: bool = False) -> dict[str, Any]:
        """The fields by name.

        Args:
            recursive: also turn the rows within into dicts, as far as they stand in rows, lists and dicts.

        Raises:
            TypeError: the fields have no names.

        >>> Row(key=1, value=Row(name="a", age=2)).asDict(recursive=True)
        {'key': 1, 'value': {'name': 'a', 'age': 2}}
        """
        if self.__names__ is None:
            raise TypeError("Cannot convert a Row class into dict")
        return dict(zip(self.__names__, map(_plain, self) if recursive else self))

    def __call__(self, *args: Any) -> Row:
        """A record with this row's values as names."""
        if len(args) > len(self):
            raise ValueError(
                f"Can not create Row with fields {self}, expected {len(self):d} values but got {len(args)}: {args}"
            )
        return _maker(self.__root__, (*self,), len(args))(args)

    def __contains__(self, item: object) -> bool:
        return tuple.__contains__(self, item) if self.__names__ is None else item in self.__names__

    def __getitem__(self, item: Any) -> Any:
        if not isinstance(item, str):
            return tuple.__getitem__(self, item)
        try:
            return tuple.__getitem__(self, self.__names__.index(item))  # type: ignore[union-attr]
        except (AttributeError, IndexError):  # no names, or no value for the name
            raise KeyError(item) from None
        except ValueError:
            raise ValueError(f"{item!r} is no field of {self!r}") from None

    def __getattr__(self, item: str) -> Any:
        if item.startswith("__") or self.__names__ is None:
            raise AttributeError(item)
        try:
            return tuple.__getitem__(self, self.__names__.index(item))
        except (IndexError, ValueError):
            raise AttributeError(item) from None

    def __setattr__(self, key: str, value: Any) -> None:
        if key != "__fields__":
            raise IllegalStateException("Row is read-only")
        object.__setattr__(self, "__class__", _maker(self.__root__, tuple(value), len(self)).kind)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self,)

    def __repr__(self) -> str:
        if self.__names__ is None:
            return f"<Row({', '.join(map(repr, self))})>"
        return f"Row({', '.join(f'{name}={value!r}' for name, value in zip(self.__names__, self))})"


Row.__root__ = Row
Row.__kinds__ = {}


def row_maker(names: Sequence[str]) -> Callable[[Iterable[Any]], Row]:
    """What makes rows with these fields from their values, about as quickly as tuples are made.

    Args:
        names: of the fields; a name may stand there twice, then it leads to the first.

    >>> ann, bob = map(row_maker(["name", "age"]), [("Ann", 7), ["Bob", 8]])
    >>> ann.name, bob
    ('Ann', Row(name='Bob', age=8))
    """
    return _maker(Row, tuple(names), len(names))


class _Maker(partial[Row]):
    """Makes rows of one kind from their values. Pickled once for all rows of the kind that stand in a pickle."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        kind = self.kind
        return _maker, (kind.__root__, kind.__names__, kind.__size__)

    @property
    def kind(self) -> type[Row]:
        """The rows' class."""
        return self.args[0]  # type: ignore[no-any-return]


@lru_cache(_KINDS_MAX)
def _maker(root: type[Row], names: tuple[str, ...], size: int) -> _Maker:
    """What makes rows with these names and `size` values, which may be fewer."""
    fields = {
        name: getter
        for name, getter in reversed(list(zip(names[:size], _AT_POSITION)))
        if isinstance(name, str) and not name.startswith("__") and not hasattr(root, name)
    }
    rest = {
        "__module__": root.__module__,
        "__qualname__": root.__qualname__,
        "__doc__": root.__doc__,
        "__slots__": (),
        "__names__": names,
        "__size__": size,
        "__fields__": property(lambda self: [*names]),
        "__reduce_ex__": lambda self, protocol: (maker, ((*self,),)),
    }
    maker: _Maker = _Maker(tuple.__new__, type(root.__name__, (root,), {**fields, **rest}))
    return maker


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        return value.asDict(recursive=True)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
