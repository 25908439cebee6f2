"""Programs' SQL does with Headwater what it does with PySpark, but for the differences that are written down here.

Texts of errors are the engine's own: an error agrees with PySpark's if it is of the same class and, where its text
begins with an error condition, names the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import pytest

from tests.conftest import stop_active_context
from tests.sql.recording import Case, Outcome, cases, outcome, recorded, session, utc

pytest.importorskip("pysail")

RECORDED = recorded()


class Different(NamedTuple):
    """Why a case does something else with Headwater, and what it does."""

    reason: str
    outcome: Outcome


def _returns(reason: str, returned: str) -> Different:
    return Different(reason, Outcome(returned=returned))


def _raises(reason: str, raised: str, message: str = "") -> Different:
    return Different(reason, Outcome(raised=raised, message=message))


def _prints(reason: str, printed: str) -> Different:
    return Different(reason, Outcome([*dedent(printed).strip().splitlines(), ""]))


# One that vanishes or changes fails its test: then it is taken out or written anew.
DIFFERENT = {
    "counting.dict_of_aggregates": _returns(
        "columns in the order of the dict, where Spark has that of a hash table of Java's",
        "[Row(who='ann', sum(n)=4, max(price)=4.0), Row(who='bob', sum(n)=7, max(price)=4.0)]",
    ),
    "counting.quantiles_are_approximate": _raises("the engine has no approxQuantile", "UnsupportedOperationException"),
    "counting.summary_shows_quartiles": _prints(
        "the engine's third quartile is another of the values",
        """
        +-------+-----------------+
        |summary|                n|
        +-------+-----------------+
        |  count|                4|
        |   mean|             2.75|
        | stddev|1.707825127659933|
        |    min|                1|
        |    25%|                1|
        |    50%|                2|
        |    75%|                4|
        |    max|                5|
        +-------+-----------------+
        """,
    ),
    "creating.types_of_numpy_scalars_are_not_inferred": _returns(
        "NumPy's scalars are numbers: no reason to refuse them", "struct<n:bigint,s:string>"
    ),
    "failing.error_raised_in_sql": _raises("the engine has no class of its own for it", "AnalysisException"),
    "failing.rows_of_different_lengths_without_a_schema": _raises(
        "the row is named, and found at once", "PySparkValueError", "[FIELD_STRUCT_LENGTH_MISMATCH]"
    ),
    "failing.unknown_column": _raises(
        "without suggestions", "AnalysisException", "[UNRESOLVED_COLUMN.WITHOUT_SUGGESTION]"
    ),
    "failing.unknown_column_as_an_attribute": _returns(
        "columns are looked up when rows are asked for", "Column<'wrod'>"
    ),
    "failing.unknown_column_as_an_item": _returns("columns are looked up when rows are asked for", "Column<'wrod'>"),
    "failing.unknown_column_in_sql": _raises(
        "without suggestions", "AnalysisException", "[UNRESOLVED_COLUMN.WITHOUT_SUGGESTION]"
    ),
    "failing.unknown_setting": _raises("Headwater's own class", "NoSuchElementException", "[SQL_CONF_NOT_FOUND]"),
    "files.csv_with_a_header_and_inferred_types": _returns(
        "the engine infers longs, and timestamps without a zone",
        "('struct<city:string,n:bigint,x:double,when:timestamp_ntz>', [Row(city='Rome', n=1, x=1.5, "
        "when=datetime.datetime(2024, 1, 2, 3, 4, 5)), Row(city='Paris, France', n=2, x=None, "
        "when=datetime.datetime(2024, 1, 2, 0, 0))])",
    ),
    "files.csv_with_a_schema": _raises("a value of a file that doesn't fit is an error", "SparkRuntimeException"),
    "files.json_with_a_schema_and_a_broken_line": _raises(
        "a broken line of a file is an error, unless a mode is named", "SparkRuntimeException"
    ),
    "files.quotes_and_empty_strings_in_csv": _returns(
        "the engine doubles quotes, and writes an empty string as null",
        '(\'"say ""hi""",\\n\', [Row(_c0=\'say "hi"\', _c1=None)])',
    ),
    "nested.maps_filtered_and_transformed": _raises(
        "the engine has no transform_values", "UnsupportedOperationException"
    ),
    "nested.paths_into_json": _returns(
        "the engine cuts nested JSON out of the text with its blanks",
        """[Row(u='ann', t='x', g=None), Row(u='bob', t=None, g='{"lat": 1.5}'), Row(u=None, t=None, g=None)]""",
    ),
    "nulls.nan_is_not_null": _returns(
        "the engine's isnan of null is null",
        "[Row(nan=True, null=False, v=0.0), Row(nan=None, null=True, v=None), Row(nan=False, null=False, v=1.0)]",
    ),
    "numbers.decimals_divided": _returns(
        "the engine's quotients have fewer digits",
        "(StructType([StructField('q', DecimalType(16,6), True)]), Row(q=Decimal('3.500000')))",
    ),
    "numbers.doubles_as_strings": _returns(
        "the engine writes exponents for the largest and the smallest alone",
        "Row(a='10000000000.0', b='1.0', c='0.0001', d='123456789.5', e='0.1')",
    ),
    "numbers.numbers_compared_with_strings": _raises("the engine adds no strings to numbers", "AnalysisException"),
    "numbers.overflow_raises": _returns("the engine's integers wrap", "[Row((n + 1)=-2147483648)]"),
    "numbers.rint_rounds_halves_to_even_numbers": _returns(
        "the engine rounds halves away from zero", "[Row(rint(x)=3.0), Row(rint(x)=4.0)]"
    ),
    "numbers.sum_of_longs_overflows": _returns("the engine's integers wrap", "[Row(s=-9223372036854775808)]"),
    "rdds.empty_rdd_without_a_schema": _raises("a class of its own, of ValueError", "NoRows"),
    "rdds.foreach_and_foreachpartition_run_in_tasks": _returns("as many partitions as there are cores", "(45, 2)"),
    "rdds.partitions_counted_and_changed": _returns("as many partitions as there are cores", "(2, 2, [4, 4])"),
    "rdds.rows_of_another_length_than_the_schema": _raises(
        "a task's exception keeps its class", "ValueError", "[FIELD_STRUCT_LENGTH_MISMATCH]"
    ),
    "rdds.values_of_another_type_than_the_schema": _raises(
        "a task's exception keeps its class", "TypeError", "[FIELD_DATA_TYPE_UNACCEPTABLE_WITH_NAME]"
    ),
    "showing.no_rows_or_no_columns_shown": _prints(
        "the engine counts rows where there are no columns",
        """
        +---+---------+
        | id|long_name|
        +---+---------+
        +---+---------+

        ++
        ++
        ++

        (0 rows)
        """,
    ),
    "strings.name_of_a_column_by_like": _returns(
        "the engine names it as a function", "['like(u, http%)', 'RLIKE(u, ^http)', 'startswith(u, http)']"
    ),
    "windowing.session_windows_of_time": _raises("the engine has no session_window", "UnsupportedOperationException"),
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    stop_active_context()
    directory = tmp_path_factory.mktemp("sql")
    with utc(), pytest.MonkeyPatch.context() as patched:
        patched.chdir(directory)
        spark = session("headwater", str(directory))
        yield spark
        spark.stop()


@pytest.fixture(scope="module")
def all_cases() -> dict[str, Case]:
    return cases("headwater")


@pytest.mark.parametrize("name", RECORDED)
def test_case_does_what_pyspark_does(name: str, all_cases: dict[str, Case], spark: Any, tmp_path: Path) -> None:
    got = outcome(all_cases[name], spark, str(tmp_path))
    wanted = RECORDED[name]
    if name in DIFFERENT:
        assert _compared(got, got) != _compared(wanted, got), "it does what PySpark does: take it out of DIFFERENT"
        wanted = DIFFERENT[name].outcome
    assert _compared(got, got) == _compared(wanted, got), got.message


def test_recording_is_of_these_cases(all_cases: dict[str, Case]) -> None:
    assert set(all_cases) == set(RECORDED)
    assert set(DIFFERENT) <= set(RECORDED)


def test_each_difference_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
    assert sorted({different.reason for different in DIFFERENT.values() if different.reason not in page}) == []


def _compared(outcome: Outcome, got: Outcome) -> list[str | None]:
    """What must be equal of an outcome and of another one, where it is compared with what a case did."""
    condition = _condition(outcome) if _condition(got) else None
    return [*outcome.printed, outcome.returned, outcome.raised, condition]


def _condition(outcome: Outcome) -> str | None:
    """The error condition that a message names first, as in `[DIVIDE_BY_ZERO] Division by zero`."""
    found = re.search(r"\[([A-Z_]+(\.[A-Z_]+)?)\]", outcome.message or "")
    return found[1] if found else None
