"""Row: PySpark's record."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cloudpickle
import pytest

from headwater import SparkContext
from headwater.sql import Row
from headwater.sql.rows import row_maker

ANN = Row(name="Ann", age=7)


class Person(Row):
    """A row that a program gives more to."""

    def greeting(self) -> str:
        return f"Hello {self.name}"


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
    pickled = [pickle.loads(pickle.dumps(row, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for again in (*pickled, cloudpickle.loads(cloudpickle.dumps(row)), copy.copy(row), copy.deepcopy(row)):
        assert type(again) is type(row)
        assert again == row
        assert repr(again) == repr(row)


def test_a_deep_copy_shares_nothing_that_changes() -> None:
    row = Row(values=[1])
    copy.deepcopy(row).values.append(2)
    assert row == ([1],)


def test_pickled_rows_name_their_fields_once() -> None:
    rows = [Row(name=f"n{i}", age=i) for i in range(100)]
    pickled = pickle.dumps(rows)
    assert (pickled.count(b"name"), pickled.count(b"age")) == (1, 1)
    assert pickle.loads(pickled) == rows
    assert pickle.loads(pickled)[99].age == 99


def test_every_row_is_a_row_for_a_program_that_asks() -> None:
    for row in (ANN, Row("a"), Row(), Person(name="Ann"), row_maker(["a"])([1])):
        assert isinstance(row, Row)
        assert isinstance(row, tuple)
    assert (type(ANN).__name__, type(ANN).__module__) == ("Row", "headwater.sql.rows")
    assert type(ANN)("a", "b") == Row("a", "b")
    assert repr(type(ANN)(x=1)) == "Row(x=1)"
    assert not hasattr(Row("a"), "__fields__")


def test_names_can_be_given_to_values() -> None:
    row = Row("Ann", 7)
    row.__fields__ = ["name", "age"]
    assert (row.age, repr(row)) == (7, "Row(name='Ann', age=7)")


def test_list_of_names_is_the_callers() -> None:
    ANN.__fields__.append("size")
    assert ANN.__fields__ == ["name", "age"]


def test_field_with_the_name_of_a_method_is_reached_by_item() -> None:
    row = Row(count=3, index=1, asDict=2, __len__=4)
    assert (row["count"], row["index"], row["asDict"], row["__len__"], len(row)) == (3, 1, 2, 4, 4)
    assert row.count(3) == 1
    assert row.asDict() == {"count": 3, "index": 1, "asDict": 2, "__len__": 4}


def test_name_that_is_no_identifier_is_a_name() -> None:
    row = Row(**{"count(1)": 3, "": 4})
    assert (row["count(1)"], getattr(row, "count(1)"), row[""]) == (3, 3, 4)


def test_name_that_stands_twice_leads_to_the_first() -> None:
    row = Row("a", "b", "a")(1, 2, 3)
    assert (row.a, row["a"], row.asDict(), row.__fields__) == (1, 1, {"a": 3, "b": 2}, ["a", "b", "a"])


def test_many_fields_are_reached_by_name() -> None:
    names = [f"f{i}" for i in range(200)]
    row = row_maker(names)(range(200))
    assert [getattr(row, name) for name in names] == [row[name] for name in names] == list(range(200))
    assert pickle.loads(pickle.dumps(row)).f199 == 199
    with pytest.raises(AttributeError):
        _ = row.f200


def test_row_maker_makes_rows_of_any_values() -> None:
    make = row_maker(["name", "age"])
    rows = [*map(make, zip(["Ann", "Bob"], [7, 8])), make(["Cy", 9]), make(iter(("Di", 10)))]
    assert [row.name for row in rows] == ["Ann", "Bob", "Cy", "Di"]
    assert type(rows[0]) is type(ANN)
    assert rows[0] == ANN
    assert pickle.loads(pickle.dumps(make))(["Ann", 7]).name == "Ann"


def test_more_sets_of_names_than_are_kept_do_no_harm() -> None:
    rows: list[Any] = [Row(**{f"f{i}": i}) for i in range(3000)]
    assert [row[f"f{i}"] for i, row in enumerate(rows)] == list(range(3000))
    assert Row(f0=0) == rows[0]
    assert repr(Row(f0=0)) == repr(rows[0])
    assert pickle.loads(pickle.dumps(rows)) == rows


def test_class_derived_from_row_keeps_its_methods() -> None:
    ann = Person(name="Ann", age=7)
    assert isinstance(ann, Person)
    assert (ann.greeting(), ann.age, repr(ann)) == ("Hello Ann", 7, "Row(name='Ann', age=7)")
    assert isinstance(Person("name")("Bob"), Person)
    assert cloudpickle.loads(cloudpickle.dumps(ann)).greeting() == "Hello Ann"
    assert copy.deepcopy(Person("a")) == ("a",)


def test_rows_are_records_and_keys(sc: SparkContext) -> None:
    rows = sc.parallelize(["a 1", "b 2", "a 3"], 2).map(str.split).map(lambda w: Row(word=w[0], n=int(w[1])))
    assert rows.filter(lambda row: row.n > 1).map(lambda row: row.word).collect() == ["b", "a"]
    counts = rows.map(lambda row: (Row(key=row.word), row["n"])).reduceByKey(lambda a, b: a + b).collect()
    assert sorted((repr(key), count) for key, count in counts) == [("Row(key='a')", 4), ("Row(key='b')", 2)]
