"""Row: a tuple whose fields may have names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headwater.errors import IllegalStateException

__all__ = ["Row"]


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

    __fields__: list[str]  # the names; absent if there are none

    def __new__(cls, *args: Any, **kwargs: Any) -> Row:
        if args and kwargs:
            raise ValueError("Can not use both args and kwargs to create Row")
        if kwargs:
            return _named(list(kwargs), kwargs.values())
        return tuple.__new__(cls, args)

    def asDict(self, recursive: bool = False) -> dict[str, Any]:
        """The fields by name.

        Args:
            recursive: also turn the rows within into dicts, as far as they stand in rows, lists and dicts.

        Raises:
            TypeError: the fields have no names.

        >>> Row(key=1, value=Row(name="a", age=2)).asDict(recursive=True)
        {'key': 1, 'value': {'name': 'a', 'age': 2}}
        """
        if not hasattr(self, "__fields__"):
            raise TypeError("Cannot convert a Row class into dict")
        return {name: _plain(value) if recursive else value for name, value in zip(self.__fields__, self)}

    def __call__(self, *args: Any) -> Row:
        """A record with this row's values as names."""
        if len(args) > len(self):
            raise ValueError(
                f"Can not create Row with fields {self}, expected {len(self):d} values but got {len(args)}: {args}"
            )
        return _named(list(self), args)

    def __contains__(self, item: object) -> bool:
        return item in self.__fields__ if hasattr(self, "__fields__") else super().__contains__(item)

    def __getitem__(self, item: Any) -> Any:
        if not isinstance(item, str):
            return super().__getitem__(item)
        try:
            return super().__getitem__(self.__fields__.index(item))
        except (AttributeError, IndexError):  # no names, or no value for the name
            raise KeyError(item) from None
        except ValueError:
            raise ValueError(f"{item!r} is no field of {self!r}") from None

    def __getattr__(self, item: str) -> Any:
        if item.startswith("__"):
            raise AttributeError(item)
        try:
            return super().__getitem__(self.__fields__.index(item))
        except (IndexError, ValueError):
            raise AttributeError(item) from None

    def __setattr__(self, key: str, value: Any) -> None:
        if key != "__fields__":
            raise IllegalStateException("Row is read-only")
        self.__dict__[key] = value

    def __reduce__(self) -> tuple[Any, ...]:
        if hasattr(self, "__fields__"):
            return _named, (self.__fields__, tuple(self))
        return Row, tuple(self)

    def __repr__(self) -> str:
        if hasattr(self, "__fields__"):
            return f"Row({', '.join(f'{name}={value!r}' for name, value in zip(self.__fields__, self))})"
        return f"<Row({', '.join(map(repr, self))})>"


def _named(fields: list[str], values: Iterable[Any]) -> Row:
    row = tuple.__new__(Row, values)
    row.__fields__ = fields
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        return value.asDict(recursive=True)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
