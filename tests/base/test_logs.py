"""What a program shows of Headwater's log, by how it configures `logging`."""

from __future__ import annotations

import logging
import os
import pathlib
import re
import subprocess
import sys

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException

BEGIN = "import logging\nfrom headwater import SparkContext, SparkConf\nlog = logging.getLogger('headwater.clicks')\n"
START = "sc = SparkContext('local[1]', 'x')\n"
CONFIGURE = "logging.basicConfig(format='mine: %(message)s')\n"
OURS = r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d {} headwater.clicks: {}\n"


def stderr_of(program: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return run.stderr


def test_a_warning_has_time_and_level_when_no_logging_is_configured() -> None:
    assert re.fullmatch(OURS.format("WARN", "slow"), stderr_of(START + "log.warning('slow')\nlog.info('well')\n"))


def test_set_log_level_shows_from_that_level_on() -> None:
    shown = stderr_of(START + "sc.setLogLevel('info')\nlog.info('well')\nlog.debug('details')\n")
    assert re.fullmatch(OURS.format("INFO", "well"), shown)


def test_set_log_level_hides_what_is_below() -> None:
    shown = stderr_of(START + "sc.setLogLevel('FATAL')\nlog.error('bad')\nlog.critical('over')\n")
    assert re.fullmatch(OURS.format("FATAL", "over"), shown)


def test_the_setting_of_the_level_does_what_set_log_level_does() -> None:
    conf = "sc = SparkContext('local[1]', 'x', conf=SparkConf().set('spark.log.level', 'trace'))\n"
    assert re.search(OURS.format("TRACE", "all"), stderr_of(conf + "log.log(5, 'all')\n"))


def test_settings_without_meaning_are_named_in_a_line_of_information() -> None:
    conf = "SparkConf().set('spark.jars.packages', 'a:b:1').set('spark.log.level', 'INFO')"
    shown = stderr_of(f"sc = SparkContext('local[1]', 'x', conf={conf})\n")
    assert re.search(r"INFO headwater\.context: accepted, and without meaning here .*: spark\.jars\.packages\n", shown)


@pytest.mark.parametrize("program", [CONFIGURE + START, START + CONFIGURE], ids=["before", "after"])
def test_a_program_that_configures_logging_gets_each_line_once_and_its_own_way(program: str) -> None:
    assert stderr_of(program + "sc.setLogLevel('INFO')\nlog.info('well')\n") == "mine: well\n"


def test_a_handler_of_one_of_our_loggers_is_enough() -> None:
    handler = "log.addHandler(logging.StreamHandler())\n"
    assert stderr_of(START + handler + "log.warning('slow')\n") == "slow\n"


def test_a_second_context_does_not_show_lines_twice() -> None:
    shown = stderr_of(START + "sc.stop()\n" + START + "log.warning('slow')\n")
    assert re.fullmatch(OURS.format("WARN", "slow"), shown)


def test_a_line_of_a_restart_before_there_is_a_context_has_time_and_level(tmp_path: pathlib.Path) -> None:
    (tmp_path / "checkpoint-1000-1").write_bytes(b"garbage")
    shown = stderr_of(
        "from headwater.streaming import StreamingContext\n"
        f"try: StreamingContext.getOrCreate({str(tmp_path)!r}, lambda: None)\n"
        "except Exception as error: assert 'Failed to read checkpoint' in str(error)\n"
    )
    assert re.match(r"\S+ \S+ WARN headwater\.streaming\.recovery\.checkpoint: Checkpoint \S+ can't be read", shown)


def test_a_line_of_a_worker_says_that_it_is_a_worker_s() -> None:
    logs = "sc.parallelize([1], 1).foreach(lambda x: logging.getLogger('headwater.clicks').warning('slow'))\n"
    shown = stderr_of(START + logs)
    assert re.fullmatch(r"\S+ \S+ WARN headwater\.clicks \(worker of executor driver\): slow\n", shown)


def test_pytest_captures_our_lines(no_context: None, caplog: pytest.LogCaptureFixture) -> None:
    with SparkContext("local", "x", conf=SparkConf(False).set("spark.speculation", True)):
        pass
    assert caplog.messages == ["spark.speculation has no effect yet"]


def test_set_log_level_sets_python_s_level_and_refuses_others(no_context: None) -> None:
    before = logging.getLogger("headwater").level
    try:
        with SparkContext("local", "x") as sc:
            sc.setLogLevel("error")
            assert logging.getLogger("headwater").level == logging.ERROR
            with pytest.raises(IllegalArgumentException, match="LOUD did not match one of: ALL,DEBUG,ERROR,FATAL,INFO"):
                sc.setLogLevel("LOUD")
    finally:
        logging.getLogger("headwater").setLevel(before)
