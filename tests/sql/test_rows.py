"""Row: PySpark's record."""

from __future__ import annotations

import copy
import pickle

import pytest

from headwater import SparkContext
from headwater.sql import Row

ANN = Row(name="Ann", age=7)


def test_a_row_keeps_its_fields_in_their_order() -> None:
    assert list(Row(b=1, a=2).asDict().items()) == [("b", 1), ("a", 2)]
    assert repr(Row(b=1, a="x")) == "Row(b=1, a='x')"
    assert Row(b=1, a=2).__fields__ == ["b", "a"]


def test_a_field_is_reached_by_name_and_position() -> None:
    assert (ANN.name, ANN["name"], ANN[0], ANN[-1], ANN[0:1]) == ("Ann", "Ann", "Ann", 7, ("Ann",))


def test_a_field_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="size"):
        _ = ANN.size
    with pytest.raises(ValueError, match="'size' is no field of Row\\(name='Ann', age=7\\)"):
        _ = ANN["size"]
    with pytest.raises(IndexError):
        _ = ANN[2]


def test_in_asks_for_names_if_there_are_names() -> None:
    assert "name" in ANN
    assert "Ann" not in ANN
    assert "Ann" in Row("Ann", 7)


def test_a_row_equals_the_tuple_of_its_values_and_hashes_as_it() -> None:
    assert ANN == ("Ann", 7) == Row(who="Ann", years=7)
    assert {ANN: 1}[("Ann", 7)] == 1  # type: ignore[index]
    name, age = ANN
    assert (name, age) == ("Ann", 7)


def test_a_row_of_names_makes_rows() -> None:
    person = Row("name", "age")
    assert repr(person) == "<Row('name', 'age')>"
    assert person("Ann", 7) == ANN
    assert person("Ann", 7).asDict() == {"name": "Ann", "age": 7}
    with pytest.raises(ValueError, match="expected 2 values but got 3"):
        person(1, 2, 3)


def test_a_row_with_fewer_values_than_names_has_no_value_for_the_rest() -> None:
    short = Row("name", "age")("Ann")
    assert short.name == "Ann"
    with pytest.raises(KeyError):
        _ = short["age"]
    with pytest.raises(AttributeError):
        _ = short.age


def test_as_dict_goes_into_rows_lists_and_dicts_if_asked_to() -> None:
    row = Row(one=ANN, more=[ANN], by={"a": ANN})
    ann = {"name": "Ann", "age": 7}
    assert row.asDict() == {"one": ANN, "more": [ANN], "by": {"a": ANN}}
    assert row.asDict(True) == {"one": ann, "more": [ann], "by": {"a": ann}}
    with pytest.raises(TypeError, match="Cannot convert a Row class into dict"):
        Row("a").asDict()


def test_a_row_can_not_be_changed() -> None:
    with pytest.raises(RuntimeError, match="Row is read-only"):
        ANN.age = 8


def test_values_with_and_without_names_are_refused() -> None:
    with pytest.raises(ValueError, match="Can not use both args and kwargs to create Row"):
        Row("a", b=1)


@pytest.mark.parametrize("row", [ANN, Row("a", "b"), Row(), Row(inner=ANN)])
def test_a_row_survives_pickling_and_copying(row: Row) -> None:
    for again in (pickle.loads(pickle.dumps(row)), copy.deepcopy(row)):
        assert type(again) is type(row)
        assert again == row
        assert repr(again) == repr(row)


def test_rows_are_records_and_keys(sc: SparkContext) -> None:
    rows = sc.parallelize(["a 1", "b 2", "a 3"], 2).map(str.split).map(lambda w: Row(word=w[0], n=int(w[1])))
    assert rows.filter(lambda row: row.n > 1).map(lambda row: row.word).collect() == ["b", "a"]
    counts = rows.map(lambda row: (Row(key=row.word), row["n"])).reduceByKey(lambda a, b: a + b).collect()
    assert sorted((repr(key), count) for key, count in counts) == [("Row(key='a')", 4), ("Row(key='b')", 2)]
