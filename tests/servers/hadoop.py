"""Hadoop's own formats in one JVM, which answers request after request; see HadoopFormats.java."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import IO

from tests.servers import HERE
from tests.servers.processes import SERVERS, START_SECONDS_MAX, dies_with_its_parent


class HadoopFormats:
    """A JVM with Hadoop's client, from the start to the end of the block.

    Args:
        jars: of Hadoop.
        log: gets what it logs.
    """

    def __init__(self, jars: Path, log: Path) -> None:
        command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", str(HERE / "HadoopFormats.java")]
        self._log = log
        self._running = ExitStack()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._running.enter_context(log.open("ab")),
            preexec_fn=dies_with_its_parent,
        )
        SERVERS.add(self._process.pid)

    def __enter__(self) -> HadoopFormats:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._running.close()

    def read(self, input_format: str, path: Path, settings: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
        """The pairs that an input format finds, as text."""
        return [pair for split in self.read_splits(input_format, path, settings) for pair in split]

    def read_splits(
        self, input_format: str, path: Path, settings: Mapping[str, str] | None = None
    ) -> list[list[tuple[str, str]]]:
        """The pairs of each split that an input format makes, as text."""
        splits: list[list[tuple[str, str]]] = []
        for line in self._ask("read", input_format, str(path), *_fields(settings)):
            if line == "split":
                splits.append([])
            else:
                key, value = line.split("\t")
                splits[-1].append((_unescaped(key), _unescaped(value)))
        return splits

    def write(
        self, output_format: str, path: Path, kind: str, count: int, settings: Mapping[str, str] | None = None
    ) -> None:
        """Write the pairs of a kind by an output format."""
        self._ask("write", output_format, str(path), kind, str(count), *_fields(settings))

    def describe(self, path: Path) -> list[str]:
        """Key class, value class and compression of a SequenceFile."""
        (line,) = self._ask("file", str(path))
        return line.split("\t")

    def _ask(self, *request: str) -> list[str]:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        patience = Timer(START_SECONDS_MAX, self._process.kill)
        patience.start()
        try:
            requests.write("\t".join(request).encode() + b"\n")
            requests.flush()
            return self._answer(answers)
        finally:
            patience.cancel()
            patience.join()

    def _answer(self, answers: IO[bytes]) -> list[str]:
        lines: list[str] = []
        while True:
            line = answers.readline().decode().removesuffix("\n")
            if line == "done":
                return lines
            assert line and not line.startswith("failed: "), f"{line}\n{self._log.read_text()[-3000:]}"
            lines.append(line)


def _fields(settings: Mapping[str, str] | None) -> list[str]:
    return [f"{key}={_escaped(value)}" for key, value in (settings or {}).items()]


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _unescaped(text: str) -> str:
    marked = text.replace("\\\\", "\0")
    return marked.replace("\\t", "\t").replace("\\n", "\n").replace("\0", "\\")
