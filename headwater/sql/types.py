"""The types of columns, as values: they describe a schema, compare, and are written as JSON the way Spark writes it.

They know nothing of an engine. Each type has three names: `typeName()` is that of its JSON, `simpleString()` that of
SQL, `repr` what a program would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NoReturn

from headwater.errors import IllegalArgumentException
from headwater.sql.rows import Row

__all__ = [
    "ArrayType",
    "BinaryType",
    "BooleanType",
    "ByteType",
    "CharType",
    "DataType",
    "DateType",
    "DecimalType",
    "DoubleType",
    "FloatType",
    "IntegerType",
    "LongType",
    "MapType",
    "NullType",
    "Row",
    "ShortType",
    "StringType",
    "StructField",
    "StructType",
    "TimestampNTZType",
    "TimestampType",
    "VarcharType",
]


class DataType:
    """What all types have in common.

    >>> ArrayType(StringType()).simpleString(), IntegerType() == IntegerType(), LongType()
    ('array<string>', True, LongType())
    """

    _sql_name: ClassVar[str] = ""  # where it differs from `typeName()`

    @classmethod
    def typeName(cls) -> str:
        """The name of the kind, as JSON has it."""
        return cls.__name__.removesuffix("Type").lower()

    def simpleString(self) -> str:
        """The type as SQL writes it."""
        return self._sql_name or self.typeName()

    def jsonValue(self) -> str | dict[str, Any]:
        """What JSON says of the type: a name, or an object."""
        return self.typeName()

    def json(self) -> str:
        """The type as JSON."""
        return json.dumps(self.jsonValue(), separators=(",", ":"), sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


# ------------------------------------------------------------------------------------------------ simple types
class NullType(DataType):
    """The type of None."""

    @classmethod
    def typeName(cls) -> str:
        return "void"


class StringType(DataType):
    """str."""


class BinaryType(DataType):
    """bytes."""


class BooleanType(DataType):
    """bool."""


class DateType(DataType):
    """datetime.date."""


class TimestampType(DataType):
    """datetime.datetime, a point in time."""


class TimestampNTZType(DataType):
    """datetime.datetime without a time zone."""

    @classmethod
    def typeName(cls) -> str:
        return "timestamp_ntz"


class DoubleType(DataType):
    """float, of 64 bits."""


class FloatType(DataType):
    """float, of 32 bits."""


class ByteType(DataType):
    """int, of 8 bits."""

    _sql_name = "tinyint"


class ShortType(DataType):
    """int, of 16 bits."""

    _sql_name = "smallint"


class IntegerType(DataType):
    """int, of 32 bits."""

    _sql_name = "int"


class LongType(DataType):
    """int, of 64 bits."""

    _sql_name = "bigint"


class DecimalType(DataType):
    """decimal.Decimal with `precision` digits, `scale` of them after the point."""

    def __init__(self, precision: int = 10, scale: int = 0) -> None:
        self.precision = precision
        self.scale = scale

    def simpleString(self) -> str:
        return f"decimal({self.precision},{self.scale})"

    def jsonValue(self) -> str:
        return self.simpleString()

    def __repr__(self) -> str:
        return f"DecimalType({self.precision},{self.scale})"


class CharType(DataType):
    """str of `length` characters."""

    def __init__(self, length: int) -> None:
        self.length = length

    def simpleString(self) -> str:
        return f"{self.typeName()}({self.length})"

    def jsonValue(self) -> str:
        return self.simpleString()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.length})"


class VarcharType(CharType):
    """str of `length` characters at most."""


# ------------------------------------------------------------------------------------------------ composed types
class ArrayType(DataType):
    """A list.

    Args:
        containsNull: whether elements may be None.
    """

    def __init__(self, elementType: DataType, containsNull: bool = True) -> None:
        _check_type("elementType", elementType)
        self.elementType = elementType
        self.containsNull = containsNull

    def simpleString(self) -> str:
        return f"array<{self.elementType.simpleString()}>"

    def jsonValue(self) -> dict[str, Any]:
        return {
            "type": self.typeName(),
            "elementType": self.elementType.jsonValue(),
            "containsNull": self.containsNull,
        }

    @classmethod
    def fromJson(cls, json: Mapping[str, Any]) -> ArrayType:
        """The type that a parsed JSON object describes."""
        return cls(_of_json(json["elementType"]), json["containsNull"])

    def __repr__(self) -> str:
        return f"ArrayType({self.elementType!r}, {self.containsNull})"


class MapType(DataType):
    """A dict.

    Args:
        valueContainsNull: whether values may be None. Keys never are.
    """

    def __init__(self, keyType: DataType, valueType: DataType, valueContainsNull: bool = True) -> None:
        _check_type("keyType", keyType)
        _check_type("valueType", valueType)
        self.keyType = keyType
        self.valueType = valueType
        self.valueContainsNull = valueContainsNull

    def simpleString(self) -> str:
        return f"map<{self.keyType.simpleString()},{self.valueType.simpleString()}>"

    def jsonValue(self) -> dict[str, Any]:
        return {
            "type": self.typeName(),
            "keyType": self.keyType.jsonValue(),
            "valueType": self.valueType.jsonValue(),
            "valueContainsNull": self.valueContainsNull,
        }

    @classmethod
    def fromJson(cls, json: Mapping[str, Any]) -> MapType:
        """The type that a parsed JSON object describes."""
        return cls(_of_json(json["keyType"]), _of_json(json["valueType"]), json["valueContainsNull"])

    def __repr__(self) -> str:
        return f"MapType({self.keyType!r}, {self.valueType!r}, {self.valueContainsNull})"


class StructField(DataType):
    """A field of a `StructType`.

    Args:
        nullable: whether the field may be None.
        metadata: whatever the program wants to say of the field, as long as JSON can.
    """

    def __init__(
        self, name: str, dataType: DataType, nullable: bool = True, metadata: dict[str, Any] | None = None
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"The name of a field is a str, got {name!r} of type {type(name).__name__}")
        _check_type("dataType", dataType)
        self.name = name
        self.dataType = dataType
        self.nullable = nullable
        self.metadata = metadata or {}

    @classmethod
    def typeName(cls) -> NoReturn:
        raise TypeError("StructField does not have typeName. Use typeName on its type explicitly instead.")

    def simpleString(self) -> str:
        return f"{self.name}:{self.dataType.simpleString()}"

    def jsonValue(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.dataType.jsonValue(),
            "nullable": self.nullable,
            "metadata": self.metadata,
        }

    @classmethod
    def fromJson(cls, json: Mapping[str, Any]) -> StructField:
        """The field that a parsed JSON object describes."""
        return cls(json["name"], _of_json(json["type"]), json["nullable"], json.get("metadata"))

    def __repr__(self) -> str:
        return f"StructField({self.name!r}, {self.dataType!r}, {self.nullable})"


class StructType(DataType):
    """A row: fields in order. It can be iterated, and indexed by name, position and slice.

    >>> schema = StructType([StructField("word", StringType(), False)]).add("count", "long")
    >>> schema.fieldNames(), schema.simpleString(), schema["count"].dataType
    (['word', 'count'], 'struct<word:string,count:bigint>', LongType())
    """

    def __init__(self, fields: Iterable[StructField] | None = None) -> None:
        self.fields: list[StructField] = []
        for field in fields or ():
            if not isinstance(field, StructField):
                raise TypeError(f"fields should be a list of StructField, got {field!r}")
            self.fields.append(field)

    @property
    def names(self) -> list[str]:
        """The names of the fields."""
        return [field.name for field in self.fields]

    def fieldNames(self) -> list[str]:
        """The names of the fields."""
        return self.names

    def add(
        self,
        field: str | StructField,
        data_type: str | DataType | None = None,
        nullable: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> StructType:
        """Add a field at the end; returns this type.

        Args:
            field: the field, or its name; then the other arguments say what it is.
            data_type: a type, or the name that a simple one has in JSON.

        Raises:
            ValueError: a name was given without a type, or the type isn't known.
        """
        if not isinstance(field, StructField):
            if data_type is None:
                raise ValueError("Must specify DataType if passing name of struct_field to create.")
            known = _of_json(data_type) if isinstance(data_type, str) else data_type
            field = StructField(field, known, nullable, metadata)
        self.fields.append(field)
        return self

    def simpleString(self) -> str:
        return f"struct<{','.join(field.simpleString() for field in self.fields)}>"

    def jsonValue(self) -> dict[str, Any]:
        return {"type": self.typeName(), "fields": [field.jsonValue() for field in self.fields]}

    @classmethod
    def fromJson(cls, json: Mapping[str, Any]) -> StructType:
        """The type that a parsed JSON object describes.

        >>> schema = StructType().add("word", "string")
        >>> StructType.fromJson(schema.jsonValue()) == schema
        True
        """
        return cls([StructField.fromJson(field) for field in json["fields"]])

    def __iter__(self) -> Iterator[StructField]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            for field in self.fields:
                if field.name == key:
                    return field
            raise KeyError(f"No StructField named {key}")
        if isinstance(key, slice):
            return StructType(self.fields[key])
        if isinstance(key, int):
            return self.fields[key]
        raise TypeError(f"StructType keys should be strings, integers or slices, got {key!r}")

    def __repr__(self) -> str:
        return f"StructType([{', '.join(map(repr, self.fields))}])"


# ------------------------------------------------------------------------------------------------ from JSON
_SIMPLE: dict[str, type[DataType]] = {
    kind.typeName(): kind
    for kind in (
        NullType,
        StringType,
        BinaryType,
        BooleanType,
        DateType,
        TimestampType,
        TimestampNTZType,
        DoubleType,
        FloatType,
        ByteType,
        ShortType,
        IntegerType,
        LongType,
        DecimalType,
    )
}
_COMPOSED: dict[str, type[ArrayType] | type[MapType] | type[StructType]] = {
    kind.typeName(): kind for kind in (ArrayType, MapType, StructType)
}
_WITH_NUMBERS: dict[str, Any] = {"decimal": DecimalType, "char": CharType, "varchar": VarcharType}
_NUMBERS = re.compile(r"(decimal|char|varchar)\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)")


def _of_json(value: Any) -> DataType:
    if isinstance(value, Mapping) and value.get("type") in _COMPOSED:
        return _COMPOSED[value["type"]].fromJson(value)
    if isinstance(value, str):
        if value in _SIMPLE:
            return _SIMPLE[value]()
        match = _NUMBERS.fullmatch(value)
        if match is not None and (match[3] is None or match[1] == "decimal"):
            return _WITH_NUMBERS[match[1]](*map(int, filter(None, match.groups()[1:])))  # type: ignore[no-any-return]
    known = ", ".join([*_SIMPLE, "decimal(p,s)", "char(n)", "varchar(n)"])
    raise IllegalArgumentException(f"Could not parse datatype: {value!r}. A simple type is one of {known}")


def _check_type(name: str, value: object) -> None:
    if not isinstance(value, DataType):
        hint = f". Did you mean {value.__name__}()?" if isinstance(value, type) else ""
        raise TypeError(f"{name} should be a DataType, got {value!r}{hint}")
