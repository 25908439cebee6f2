"""Samples: their size, their randomness, and that a seed makes them repeatable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import SparkContext

seeds = st.integers(0, 2**31)


@given(seed=seeds, replacement=st.booleans())
def test_a_sample_is_about_as_large_as_its_fraction_says(sc: SparkContext, seed: int, replacement: bool) -> None:
    data = list(range(2000))
    sampled = sc.parallelize(data, 3).sample(replacement, 0.3, seed).collect()
    assert 450 < len(sampled) < 750
    assert set(sampled) <= set(data)
    assert sampled == sorted(sampled)
    assert replacement or len(set(sampled)) == len(sampled)


def test_a_seed_makes_a_sample_repeatable_and_no_seed_does_not(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(1000), 3)
    assert rdd.sample(False, 0.5, 7).collect() == rdd.sample(False, 0.5, 7).collect()
    assert rdd.sample(False, 0.5, 7).collect() != rdd.sample(False, 0.5, 8).collect()
    assert rdd.sample(False, 0.5).collect() != rdd.sample(False, 0.5).collect()
    unseeded = rdd.sample(False, 0.5)
    assert unseeded.collect() == unseeded.collect()  # one RDD is one sample, however often it is computed


def test_partitions_draw_different_numbers(sc: SparkContext) -> None:
    kept = sc.parallelize([*range(100), *range(100)], 2).sample(False, 0.5, 1).glom().collect()
    assert kept[0] != kept[1]


def test_samples_of_all_and_of_nothing(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(50), 2)
    assert rdd.sample(False, 1.0).collect() == list(range(50))
    assert rdd.sample(False, 0.0).collect() == []
    assert rdd.sample(True, 0.0).collect() == []
    assert 4000 < rdd.sample(True, 100.0, 3).count() < 6000


@given(seed=seeds, weights=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any))
def test_random_split_divides_the_records(sc: SparkContext, seed: int, weights: list[float]) -> None:
    splits = sc.parallelize(range(600), 3).randomSplit(weights, seed)
    parts = [split.collect() for split in splits]
    assert sorted(x for part in parts for x in part) == list(range(600))
    for part, weight in zip(parts, weights):
        assert abs(len(part) - 600 * weight / sum(weights)) < 90


@given(seed=seeds, num=st.integers(0, 60), replacement=st.booleans())
def test_take_sample_takes_as_many_as_are_asked_for(sc: SparkContext, seed: int, num: int, replacement: bool) -> None:
    rdd = sc.parallelize(range(40), 3)
    taken = rdd.takeSample(replacement, num, seed)
    assert len(taken) == (num if replacement else min(num, 40))
    assert set(taken) <= set(range(40))
    assert replacement or len(set(taken)) == len(taken)
    assert rdd.takeSample(replacement, num, seed) == taken


def test_take_sample_refuses_a_negative_size_and_takes_none_of_nothing(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="Sample size cannot be negative."):
        sc.parallelize([1]).takeSample(False, -1)
    assert sc.parallelize([], 2).takeSample(True, 3) == []


@pytest.mark.parametrize("replacement", [False, True])
def test_sample_by_key_has_a_fraction_for_each_key(sc: SparkContext, replacement: bool) -> None:
    pairs = sc.parallelize([(key, i) for i in range(1000) for key in "abc"], 3)
    counts = pairs.sampleByKey(replacement, {"a": 0.2, "b": 0.5, "c": 0}, 5).countByKey()
    assert 130 < counts["a"] < 270
    assert 400 < counts["b"] < 600
    assert "c" not in counts
