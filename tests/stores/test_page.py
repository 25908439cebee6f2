"""The example of docs/how-to/filesystems.md, on a server."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from tests.servers.stores import Store
from tests.test_docs import blocks

PAGE = "docs/how-to/filesystems.md"
ENDPOINT = "http://127.0.0.1:5000"


def test_example_of_the_page_prints_what_it_says(s3: Store, no_context: None) -> None:
    (example,) = blocks(PAGE)
    assert ENDPOINT in example.code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example.code.replace(ENDPOINT, f"http://127.0.0.1:{s3.port}"), Path(PAGE).name, "exec"), {})
    assert printed.getvalue() == example.output
