"""Rows as Arrow's batches, and back: what goes in comes out, what doesn't fit is refused as PySpark does."""

from __future__ import annotations

import math
import time
from array import array
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sql import Row
from headwater.sql.arrowrows import batches, from_stream, rows_of, to_stream, write_file
from headwater.sql.inference import infer_schema

INSTANT = pa.timestamp("us", tz="UTC")
WORDS = pa.schema({"word": pa.string(), "n": pa.int64()})
Word = namedtuple("Word", ["n", "word"])
Level = IntEnum("Level", ["LOW", "HIGH"])


def back(rows: Any, schema: pa.Schema, **options: Any) -> list[Row]:
    """The rows after a way through Arrow."""
    stream = to_stream(batches(rows, schema, **options), schema)
    return [row for batch in from_stream(stream) for row in rows_of(batch)]


def through(value: object, known: pa.DataType, **options: Any) -> Any:
    """The value after a way through a column of the type."""
    return back([(value,)], pa.schema({"a": known}), **options)[0].a


@contextmanager
def local_time(zone: str) -> Iterator[None]:
    """The process is in another time zone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


# ------------------------------------------------------------------------------------------------ there and back
def exists(moment: datetime) -> bool:
    """Whether there is the local time: an hour of the year isn't, where clocks are put forward."""
    try:
        return datetime.fromtimestamp(int(moment.replace(microsecond=0).timestamp())) == moment.replace(microsecond=0)
    except ValueError:
        return False


ATOMS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-(1 << 7), (1 << 7) - 1)),
    (pa.int32(), st.integers(-(1 << 31), (1 << 31) - 1)),
    (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.float32(), st.floats(allow_nan=False, width=32)),
    (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    (pa.binary(), st.binary(max_size=5)),
    (pa.decimal128(10, 2), st.decimals(-(10**7), 10**7, places=2)),
    (pa.date32(), st.dates()),
    (pa.time64("ns"), st.times()),
    (pa.duration("us"), st.timedeltas(timedelta(-(10**8)), timedelta(10**8))),
    (pa.timestamp("us"), st.datetimes()),
    (INSTANT, st.datetimes(datetime(2, 1, 1), datetime(9999, 12, 30)).filter(exists)),
]


def columns(depth: int) -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    """Types, each with its values."""
    atoms = st.sampled_from(ATOMS)
    if not depth:
        return atoms
    inner = columns(depth - 1)
    return st.one_of(
        atoms,
        inner.map(lambda e: (pa.list_(e[0]), st.lists(st.none() | e[1], max_size=3))),
        st.tuples(st.sampled_from([ATOMS[3], ATOMS[6]]), inner).map(
            lambda kv: (pa.map_(kv[0][0], kv[1][0]), st.dictionaries(kv[0][1], st.none() | kv[1][1], max_size=3))
        ),
        st.lists(inner, min_size=0, max_size=3).map(
            lambda parts: (
                pa.struct([pa.field(f"f{i % 2}", part[0]) for i, part in enumerate(parts)]),
                st.tuples(*(st.none() | part[1] for part in parts)),
            )
        ),
    )


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns"])
@given(st.data())
def test_rows_come_out_as_they_went_in(zone: str, data: st.DataObject) -> None:
    parts = data.draw(st.lists(columns(2), min_size=1, max_size=3))
    schema = pa.schema([pa.field(f"c{i % 2}", part[0]) for i, part in enumerate(parts)])
    with local_time(zone):
        rows = data.draw(st.lists(st.tuples(*(st.none() | part[1] for part in parts)), max_size=5))
        assert back(rows, schema) == rows
        assert all(row.__fields__ == schema.names for row in back(rows, schema))


def test_many_rows_of_plain_values_come_out_in_order() -> None:
    rows = [Row(word=f"w{n}", n=n) for n in range(200_000)]
    made = list(batches(iter(rows), WORDS))
    assert [row for batch in made for row in rows_of(batch)] == rows
    assert max(batch.num_rows for batch in made) == 65536


def test_structs_are_rows_and_maps_dicts() -> None:
    schema = infer_schema(Row(where=Row(x=1, y=2), by={"a": [Row(n=1)]}))
    assert repr(back([((1, 2), {"a": [(1,)], "b": []})], schema)) == (
        "[Row(where=Row(x=1, y=2), by={'a': [Row(n=1)], 'b': []})]"
    )


@pytest.mark.parametrize(
    "row", [("a", 1), ["a", 1], Row(word="a", n=1), Row(x="a", y=1), {"n": 1, "word": "a", "more": 2}, Word("a", 1)]
)
def test_tuples_go_by_position_and_dicts_by_name(row: Any) -> None:
    schema = pa.schema({"record": pa.struct(list(WORDS))})
    assert back([row], WORDS) == [("a", 1)]
    assert back([(row,)], schema) == [(("a", 1),)]


def test_objects_go_by_name_and_what_they_lack_is_none() -> None:
    rows = [SimpleNamespace(n=1, word="a"), {}, {"n": 2}, ("b", 3), None, SimpleNamespace(word="c")]
    expected = [("a", 1), (None, None), (None, 2), ("b", 3), (None, None), ("c", None)]
    assert back(rows, WORDS) == expected
    nested = back([(row,) for row in rows], pa.schema({"record": pa.struct(list(WORDS))}))
    assert nested == [(None if row is None else values,) for row, values in zip(rows, expected)]


def test_keys_are_the_names_by_which_dicts_are_read() -> None:
    assert back([{"w": "a", "c": 1}, ("b", 2)], WORDS, keys=["w", "c"]) == [("a", 1), ("b", 2)]


def test_atomic_rows_are_the_values_of_the_column() -> None:
    schema = pa.schema({"value": pa.list_(pa.int64())})
    assert back([[1, 2], None, []], schema, atomic=True) == [([1, 2],), (None,), ([],)]
    with pytest.raises(TypeError, match=r"field value: LongType\(\) can not accept object 'a' .* of the row 'a'$"):
        back([1, "a"], pa.schema({"value": pa.int64()}), atomic=True)


def test_rows_without_fields_are_counted() -> None:
    assert back([(), ()], pa.schema([])) == [(), ()]
    assert back([], WORDS) == []


def test_large_rows_come_in_small_batches() -> None:
    rows = [(bytes(128 << 10),)] * 1800
    sizes = [batch.num_rows for batch in batches(rows, pa.schema({"a": pa.binary()}))]
    assert sizes == [1024, 511, 265]  # of 64 MB, when it's known how large a row is


# ------------------------------------------------------------------------------------------------ what is accepted
@pytest.mark.parametrize(
    ("value", "known", "expected"),
    [
        (1, pa.string(), "1"),
        (True, pa.string(), "true"),
        (b"a", pa.string(), "b'a'"),
        ({"a": 1}, pa.string(), "{'a': 1}"),
        ("a\ud800b", pa.string(), "a?b"),
        ([1, "a", True], pa.list_(pa.string()), ["1", "a", "true"]),
        (bytearray(b"a"), pa.binary(), b"a"),
        (datetime(2026, 1, 2, 23, tzinfo=timezone(timedelta(hours=-5))), pa.date32(), date(2026, 1, 2)),
        (datetime(2026, 1, 2, 23, tzinfo=timezone(timedelta(hours=-5))), pa.timestamp("us"), datetime(2026, 1, 2, 23)),
        (Decimal("1.005"), pa.decimal128(10, 2), Decimal("1.01")),
        (Decimal("1E+3"), pa.decimal128(10, 2), Decimal("1000.00")),
        (Decimal("NaN"), pa.decimal128(10, 2), None),
        ((1, 2), pa.list_(pa.int64()), [1, 2]),
        (array("i", [1, 2]), pa.list_(pa.int64()), [1, 2]),
        (1e300, pa.float32(), math.inf),
        (np.float64(1.5), pa.float64(), 1.5),
        (np.int64(1), pa.int8(), 1),
        (np.bool_(True), pa.bool_(), True),
        (np.array([[1, 2], [3, 4]]), pa.list_(pa.list_(pa.int64())), [[1, 2], [3, 4]]),
        (None, pa.null(), None),
    ],
    ids=repr,
)
@pytest.mark.parametrize("verify", [True, False])
def test_value_that_fits(value: object, known: pa.DataType, expected: object, verify: bool) -> None:
    kept = through(value, known, verify=verify)
    assert (kept, type(kept)) == (expected, type(expected))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "UTC+5"])
def test_datetimes_without_a_zone_are_local_time(zone: str) -> None:
    with local_time(zone):
        winter, summer = datetime(2026, 1, 2, 3, 4, 5, 999_999), datetime(2026, 7, 2)
        twice = datetime(2026, 11, 1, 1, 30, fold=1)  # the later, in New York
        far = [datetime(9998, 12, 31, 23, 59, 59, 999_999), datetime(1, 1, 2), datetime(1902, 1, 1, 0, 0, 0, 1)]
        moments = [winter, summer, twice, *far]
        (batch,) = batches([(moment,) for moment in moments], pa.schema({"a": INSTANT}))
        instants = batch.column(0).slice(0, 3).to_pylist()
        assert instants == [moment.astimezone(timezone.utc) for moment in moments[:3]]
        assert [row.a for row in rows_of(batch)] == moments
        assert [row.a.fold for row in rows_of(batch)][2] == (zone == "America/New_York")
        assert through(summer.replace(tzinfo=timezone.utc), INSTANT) == datetime.fromtimestamp(
            summer.replace(tzinfo=timezone.utc).timestamp()
        )


def test_first_and_last_moment_are_kept_where_local_time_has_them() -> None:
    with local_time("Etc/GMT+5"):
        assert through(datetime.min, INSTANT) == datetime.min
        assert through(datetime.max, INSTANT) == datetime.max


def test_instants_of_other_units_are_datetimes_too() -> None:
    batch = pa.record_batch(
        {
            "ns": pa.array([1_000_001_999], pa.timestamp("ns", "UTC")),
            "s": pa.array([1], pa.timestamp("s")),
            "d": pa.array([1_999], pa.duration("ns")),
            "coded": pa.array(["a"]).dictionary_encode(),
        }
    )
    with local_time("UTC"):
        moment = datetime(1970, 1, 1, 0, 0, 1)
        assert rows_of(batch) == [(moment.replace(microsecond=1), moment, timedelta(microseconds=1), "a")]


def test_part_of_a_batch_has_its_own_rows() -> None:
    rows = [([n], {"k": n}, (n,)) if n % 3 else (None, None, None) for n in range(10)]
    schema = infer_schema(rows[1])
    (batch,) = batches(rows, schema)
    assert rows_of(batch.slice(3, 4)) == rows[3:7]


# ------------------------------------------------------------------------------------------------ what is refused
UNACCEPTABLE = "[FIELD_DATA_TYPE_UNACCEPTABLE_WITH_NAME] field a: "


@pytest.mark.parametrize(
    ("value", "known", "error", "text"),
    [
        (1, pa.float64(), TypeError, "DoubleType() can not accept object 1 in type <class 'int'>."),
        (1.0, pa.int64(), TypeError, "LongType() can not accept object 1.0 in type <class 'float'>."),
        (True, pa.int64(), TypeError, "LongType() can not accept object True in type <class 'bool'>."),
        (1, pa.bool_(), TypeError, "BooleanType() can not accept object 1 in type <class 'int'>."),
        ("a", pa.binary(), TypeError, "BinaryType() can not accept object 'a' in type <class 'str'>."),
        ("1", pa.int32(), TypeError, "IntegerType() can not accept object '1' in type <class 'str'>."),
        (1, pa.decimal128(5, 2), TypeError, "DecimalType(5,2) can not accept object 1 in type <class 'int'>."),
        (0, INSTANT, TypeError, "TimestampType() can not accept object 0 in type <class 'int'>."),
        (0, pa.timestamp("us"), TypeError, "TimestampNTZType() can not accept object 0 in type <class 'int'>."),
        (0, pa.date32(), TypeError, "DateType() can not accept object 0 in type <class 'int'>."),
        (0, pa.null(), TypeError, "NullType() can not accept object 0 in type <class 'int'>."),
        ("ab", pa.list_(pa.string()), TypeError, "ArrayType(StringType(), True) can not accept object 'ab' in"),
        ([1], pa.map_(pa.string(), pa.int64()), TypeError, "MapType(StringType(), LongType(), True) can not accept"),
        (1, pa.struct(list(WORDS)), TypeError, "StructType([StructField('word', StringType(), True), StructField('n',"),
    ],
    ids=repr,
)
def test_value_of_another_type_is_refused(value: object, known: pa.DataType, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        through(value, known)
    assert str(caught.value).startswith(UNACCEPTABLE + text)
    assert str(caught.value).endswith(f" It is field a of the row ({value!r},)")
    assert through(value, known, verify=False) is None  # as in Spark


@pytest.mark.parametrize(
    ("value", "known", "text"),
    [
        (128, pa.int8(), "Value for `obj` must be between -128 and 127 (inclusive), got 128"),
        (1 << 15, pa.int16(), "Value for `obj` must be between -32768 and 32767 (inclusive), got 32768"),
        (-(1 << 31) - 1, pa.int32(), "Value for `obj` must be between -2147483648 and 2147483647 (inclusive), got -21"),
    ],
)
def test_number_out_of_bounds_is_refused(value: int, known: pa.DataType, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        through(value, known)
    assert str(caught.value).startswith(f"[VALUE_OUT_OF_BOUNDS] {text}")
    assert through(value, known, verify=False) is None


@pytest.mark.parametrize(
    ("value", "known", "text"),
    [
        (1 << 63, pa.int64(), r"\[VALUE_OUT_OF_BOUNDS\] Value for `obj` must be between -9223372036854775808 and 92"),
        (1 << 63, pa.int8(), r"\[VALUE_OUT_OF_BOUNDS\] Value for `obj` must be between -128 and 127"),
        (timedelta.max, pa.duration("us"), r"\[VALUE_OUT_OF_BOUNDS\] Value for `obj` must be between -106751992 days"),
        (Decimal("1000"), pa.decimal128(5, 2), r"\[NUMERIC_VALUE_OUT_OF_RANGE.* 1000 cannot .* as Decimal\(5, 2\)"),
        (Decimal("Infinity"), pa.decimal128(5, 2), r"\[NUMERIC_VALUE_OUT_OF_RANGE.* Infinity cannot"),
        ([("a",)], pa.list_(pa.struct(list(WORDS))), r"\[FIELD_STRUCT_LENGTH_MISMATCH_WITH_NAME\] element in array"),
        ({None: 1}, pa.map_(pa.string(), pa.int64()), r"\[FIELD_NOT_NULLABLE_WITH_NAME\] key of map field a: This fi"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("verify", [True, False])
def test_value_that_no_null_may_stand_for_is_always_refused(
    value: object, known: pa.DataType, text: str, verify: bool
) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        through(value, known, verify=verify)


@pytest.mark.parametrize("verify", [True, False])
def test_row_with_another_number_of_values_is_refused(verify: bool) -> None:
    text = r"^\[FIELD_STRUCT_LENGTH_MISMATCH\] Length of object \(1\) does not match with length of fields \(2\)\."
    with pytest.raises(ValueError, match=text + r" It is the row \('b',\)$"):
        back([("a", 1), ("b",), ("c", 2)], WORDS, verify=verify)


@pytest.mark.parametrize("verify", [True, False])
def test_row_that_is_no_record_is_refused(verify: bool) -> None:
    text = (
        r"^\[FIELD_DATA_TYPE_UNACCEPTABLE\] StructType\(.*\) can not accept object 1 in type <class 'int'>\. It is the"
    )
    with pytest.raises(TypeError, match=text):
        back([("a", 1), 1], WORDS, verify=verify)


def test_none_is_refused_where_the_schema_has_no_nulls() -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    text = r"^\[FIELD_NOT_NULLABLE_WITH_NAME\] field a: This field is not nullable, but got None\."
    with pytest.raises(ValueError, match=text + r" It is field a of the row \(None,\)$"):
        back([(1,), (None,)], schema)
    inner = pa.struct(list(schema))
    assert back([((1,),), (None,)], pa.schema({"s": inner})) == [((1,),), (None,)]  # there is no a
    with pytest.raises(ValueError, match=r"field a in field s: This field is not nullable"):
        back([((1,),), ((None,),)], pa.schema({"s": inner}))
    with pytest.raises(ValueError, match=r"element in array field l: This field is not nullable"):
        back([([1, None],)], pa.schema({"l": pa.list_(schema.field("a"))}))


def test_first_row_that_does_not_fit_is_named_and_cut() -> None:
    rows: list[Any] = [("a", n) for n in range(70_000)]
    rows[69_000] = ("x" * 300, 1.5)
    rows[69_001] = ("b", "c")
    with pytest.raises(TypeError) as caught:
        list(batches(rows, WORDS))
    assert str(caught.value).endswith(f"in type <class 'float'>. It is field n of the row ('{'x' * 198}...")


@pytest.mark.parametrize(
    ("value", "known", "expected"),
    [
        (Level.HIGH, pa.int64(), 2),
        (pd.Timestamp(2026, 1, 2), pa.timestamp("us"), datetime(2026, 1, 2)),
        (pd.NaT, INSTANT, None),
        (pd.NaT, pa.date32(), None),
        ([1, "a", None, 2], pa.list_(pa.int64()), [1, None, None, 2]),
    ],
    ids=repr,
)
def test_value_of_a_derived_type_fits_unless_it_is_verified(value: Any, known: pa.DataType, expected: Any) -> None:
    assert through(value, known, verify=False) == expected
    with pytest.raises(TypeError, match="can not accept object"):
        through(value, known)


# ------------------------------------------------------------------------------------------------ as PySpark
types = pytest.importorskip("pyspark.sql.types")
from pyspark.sql.pandas.types import from_arrow_type  # noqa: E402

ANY_VALUE = st.one_of(
    st.none(),
    st.sampled_from([True, 1.5, "a", b"a", bytearray(b"a"), date(2026, 1, 2), datetime(2026, 1, 2)]),
    st.sampled_from([timedelta(1), Decimal("1.5"), Decimal("NaN"), time_of_day(1), {1}, Level.LOW, [], {}, ()]),
    st.integers(-(1 << 70), 1 << 70),
    st.sampled_from([200, 40_000, 1 << 31]),
)
SOME_VALUE = st.recursive(
    ANY_VALUE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.tuples(inner),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from(["f0", "f1", 1]), inner, max_size=2),
        inner.map(lambda value: SimpleNamespace(f0=value)),
        inner.map(lambda value: Row(f0=value)),
    ),
    max_leaves=4,
)


@given(columns(2), SOME_VALUE, st.booleans())
def test_a_value_is_refused_as_pyspark_does(
    column: tuple[pa.DataType, st.SearchStrategy[Any]], value: Any, nullable: bool
) -> None:
    schema = pa.schema([pa.field("a", column[0], nullable=nullable)])
    theirs = ours = ""
    verify = types._make_type_verifier(types.StructType([types.StructField("a", from_arrow_type(column[0]), nullable)]))
    try:
        verify((value,))
    except (TypeError, ValueError) as e:
        theirs = str(e)
    try:
        list(batches([(value,)], schema))
    except (TypeError, ValueError) as e:
        ours = str(e)
    assert bool(ours) == bool(theirs), (ours, theirs)
    if not pa.types.is_nested(column[0]):  # else another part of the value may be looked at first
        assert ours.startswith(theirs)


# ------------------------------------------------------------------------------------------------ files
def test_file_has_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "part-0.arrow"
    assert write_file(path, batches([("a", 1), ("b", 2)], WORDS), WORDS) == 2
    with pa.ipc.open_file(path) as reader:
        assert reader.schema == WORDS
        assert rows_of(reader.get_batch(0)) == [("a", 1), ("b", 2)]


def test_file_that_could_not_be_written_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_file(tmp_path / "part-0.arrow", batches([("a", 1)] * 2000 + [("b", "c")], WORDS), WORDS)
    assert list(tmp_path.iterdir()) == []


def test_type_that_spark_lacks_is_refused() -> None:
    with pytest.raises(TypeError, match=r"\[UNSUPPORTED_DATA_TYPE\] Unsupported DataType `uint8`"):
        list(batches([(1,)], pa.schema({"a": pa.uint8()})))
