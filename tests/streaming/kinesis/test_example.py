"""The Kinesis example as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.engine.processes import complaints
from tests.streaming.kinesis.conftest import Programs

EXAMPLE = Path(__file__).parents[3] / "examples" / "kinesis_wordcount.py"
PATIENCE_SECONDS = 60


def test_kinesis_wordcount_counts_what_is_in_the_stream(programs: Programs) -> None:
    stream = programs.server.stream(shards=2)
    stream.put(["to be or not to be"] * 10)
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL_DYNAMODB": programs.server.dynamodb_url,
    }
    command = [sys.executable, str(EXAMPLE), programs.app, stream.name, programs.server.url]
    counts = dict.fromkeys(("to", "be", "or", "not"), 0)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            while sum(counts.values()) < 60:
                line = process.stdout.readline()
                assert line, f"it ended early: {counts}"
                for word, number in re.findall(r"\('(\w+)', (\d+)\)", line):
                    counts[word] += int(number)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, complaints(errors)) == (0, [])
    assert counts == {"to": 20, "be": 20, "or": 10, "not": 10}
