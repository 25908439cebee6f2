"""Another user of the machine, who puts things where Headwater's would be."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STRANGER = 65534 if os.geteuid() == 0 else os.geteuid()  # only root can act as another user


@contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory like /tmp: all users may write to it, and touch only what is their own."""
    directory = Path(tempfile.mkdtemp(prefix="headwater-tests-"))
    try:
        directory.chmod(0o1777)
        yield directory
    finally:
        shutil.rmtree(directory)


def stranger(*command: object) -> None:
    """Run a command as another user; as this one, where we can't."""
    subprocess.run([*map(str, command)], check=True, user=STRANGER, cwd="/")
