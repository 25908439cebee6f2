"""Strings are split, matched, padded and formatted."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import functions as F

_LOG = '10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /index.html HTTP/1.0" 200 2326'


def upper_lower_initcap_length(spark: Any, tmp: str) -> Any:
    text = spark.createDataFrame([("hello Big world",)], ["s"])
    return text.select(F.upper("s"), F.lower("s"), F.initcap("s"), F.length("s"), F.reverse("s")).collect()


def substrings_and_positions(spark: Any, tmp: str) -> Any:
    text = spark.createDataFrame([("2024-05-01",)], ["s"])
    return text.select(
        F.substring("s", 1, 4),
        text.s.substr(6, 2),
        F.instr("s", "-"),
        F.locate("-", "s", 6),
        F.substring_index("s", "-", -1),
    ).collect()


def trimming_and_padding(spark: Any, tmp: str) -> Any:
    text = spark.createDataFrame([("  ab ",)], ["s"])
    return text.select(
        F.trim("s"), F.ltrim("s"), F.rtrim("s"), F.lpad(F.trim("s"), 4, "0"), F.rpad("s", 3, "x")
    ).first()


def concat_is_null_where_a_part_is_null_but_concat_ws_skips_it(spark: Any, tmp: str) -> None:
    names = spark.createDataFrame([("ann", "lee"), ("bob", None)], ["a", "b"])
    names.select(F.concat("a", F.lit(" "), "b").alias("c"), F.concat_ws("-", "a", "b").alias("d")).show()


def fields_of_a_log_line_by_regexp(spark: Any, tmp: str) -> Any:
    pattern = r'^(\S+) \S+ \S+ \[(.*?)\] "(\S+) (\S+) \S+" (\d{3}) (\d+)'
    log = spark.createDataFrame([(_LOG,), ("garbage",)], ["value"])
    fields = [
        F.regexp_extract("value", pattern, n).alias(name) for n, name in [(1, "host"), (4, "path"), (5, "status")]
    ]
    return log.select(*fields).collect()


def regexp_replace_with_groups(spark: Any, tmp: str) -> Any:
    return (
        spark.createDataFrame([("k1=v1",)], ["s"])
        .select(F.regexp_replace("s", r"(\w+)=(\w+)", "$2=$1").alias("r"))
        .first()
    )


def split_by_regexp_and_limit(spark: Any, tmp: str) -> Any:
    text = spark.createDataFrame([("a1b22c",)], ["s"])
    parts = F.split("s", r"\d+")
    return text.select(parts, parts.getItem(1), F.split("s", r"\d+", 2), F.size(parts)).collect()


def like_contains_and_friends(spark: Any, tmp: str) -> Any:
    urls = spark.createDataFrame([("http://a.com/x",), ("ftp://b.org",)], ["u"])
    conditions = [urls.u.like("http%"), urls.u.contains("b."), urls.u.endswith("/x"), urls.u.ilike("FTP%")]
    return [[row.u for row in urls.where(condition).collect()] for condition in conditions]


def name_of_a_column_by_like(spark: Any, tmp: str) -> Any:
    urls = spark.createDataFrame([("http://a.com/x",)], ["u"])
    return urls.select(urls.u.like("http%"), urls.u.rlike("^http"), urls.u.startswith("http")).columns


def formatted_numbers_and_strings(spark: Any, tmp: str) -> Any:
    numbers = spark.createDataFrame([(1234567.891, 7)], ["x", "n"])
    return numbers.select(F.format_number("x", 2), F.format_string("%05d|%s", "n", "x"), F.hex("n"), F.bin("n")).first()


def hashes(spark: Any, tmp: str) -> Any:
    text = spark.createDataFrame([("spark",)], ["s"])
    return text.select(F.md5("s"), F.sha2("s", 256), F.crc32("s"), F.base64("s"), F.hash("s"), F.xxhash64("s")).first()


def translate_repeat_and_levenshtein(spark: Any, tmp: str) -> Any:
    text = spark.createDataFrame([("kitten",)], ["s"])
    return text.select(
        F.translate("s", "kt", "x"),
        F.repeat("s", 2),
        F.levenshtein("s", F.lit("sitting")),
        F.soundex("s"),
        F.ascii("s"),
    ).first()


def parts_of_a_url(spark: Any, tmp: str) -> Any:
    url = "https://ex.org/a/b?id=7&q=x"
    return spark.sql(
        f"select parse_url('{url}', 'HOST') h, parse_url('{url}', 'QUERY', 'id') i, parse_url('{url}', 'PATH') p"
    ).first()
