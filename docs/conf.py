"""The site of the documentation, built by `make docs`: Sphinx over the repository's Markdown and its docstrings.

- The source is the whole repository, so that links between pages are the same here and on the site that hosts the code.
- NAVIGATION names every page of the site; tests/test_site.py compares it with the files.
- Warnings are errors: a link or an anchor that leads nowhere, a docstring that can't be read, a page without a place.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

HOME = "docs/index"
# Parts of the navigation, in their order, with their pages; the API's reference is one page a module.
NAVIGATION = {
    "Start here": [
        "docs/getting-started",
        "docs/tutorial",
        "docs/concepts",
        "docs/coming-from-pyspark",
        "docs/sql",
    ],
    "How to": [
        "docs/how-to/sources",
        "docs/how-to/files",
        "docs/how-to/kafka",
        "docs/how-to/kinesis",
        "docs/how-to/flume",
        "docs/how-to/receivers",
        "docs/how-to/transformations",
        "docs/how-to/windows",
        "docs/how-to/state",
        "docs/how-to/joins",
        "docs/how-to/outputs",
        "docs/how-to/exactly-once",
        "docs/how-to/your-own-outputs",
        "docs/how-to/shared-variables",
        "docs/how-to/rdds",
        "docs/how-to/filesystems",
        "docs/how-to/hadoop",
        "docs/how-to/testing",
    ],
    "Operating": [
        "docs/operating/deployment",
        "docs/operating/recovery",
        "docs/operating/failures",
        "docs/operating/keeping-up",
        "docs/operating/monitoring",
        "docs/operating/logging",
        "docs/operating/notebooks",
        "docs/operating/troubleshooting",
    ],
    "Reference": [
        "docs/reference/configuration",
        "docs/reference/api",
        "docs/compatibility",
        "SECURITY",
        "bench/README",
        "CHANGELOG",
    ],
    "API": [
        "docs/reference/api/headwater",
        "docs/reference/api/headwater.errors",
        "docs/reference/api/headwater.streaming",
        "docs/reference/api/headwater.streaming.kafka",
        "docs/reference/api/headwater.streaming.kinesis",
        "docs/reference/api/headwater.streaming.flume",
        "docs/reference/api/headwater.streaming.receivers",
        "docs/reference/api/headwater.streaming.mqtt",
        "docs/reference/api/headwater.testing",
        "docs/reference/api/headwater.sql",
    ],
    "Formats": [
        "docs/formats/log",
        "docs/formats/checkpoint",
        "docs/formats/state",
        "docs/formats/block",
        "docs/formats/sealed",
        "docs/formats/sequencefile",
        "docs/formats/picklefile",
    ],
    "For contributors": [
        "CONTRIBUTING",
        "changes/README",
        "docs/design",
        "docs/style",
        "docs/architecture",
        "docs/lives",
    ],
}

project = "Headwater"
author = "the Headwater contributors"
release = re.findall(r'^__version__ = "(.*)"', (ROOT / "headwater/version.py").read_text(), re.M)[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid", "sphinx_copybutton"]
root_doc = HOME
include_patterns = [f"{page}.*" for page in (HOME, *(page for pages in NAVIGATION.values() for page in pages))]
exclude_patterns = ["docs/conf.py"]

html_theme = "furo"
html_title = "Headwater"
html_extra_path = ["start"]  # index.html, which leads to HOME

myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["aiohttp", "boto3", "botocore", "confluent_kafka", "fastavro", "numpy", "paho", "redis"]
napoleon_numpy_docstring = False
default_role = "code"  # `name` in a docstring


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", close_code, priority=400)  # before napoleon, which has 500
    app.connect("autodoc-process-docstring", join_property, priority=600)


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Give the home page its tables of contents, which only the site can show."""
    if page == HOME:
        source[0] += "".join(_toctree(part, pages) for part, pages in NAVIGATION.items())


def _toctree(part: str, pages: list[str]) -> str:
    entries = "\n".join(f"/{page}" for page in pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {part}\n\n{entries}\n```\n"


def close_code(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Part `code` in a docstring from letters that follow it, as reStructuredText wants it."""
    lines[:] = re.sub(r"(`[^`]+`)(\w?)", _closed, "\n".join(lines)).split("\n")


def _closed(code: re.Match[str]) -> str:
    return f"{code[1]}\\ {code[2]}" if code[2] else code[1]


def join_property(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Put together a property's text, whose words before a colon napoleon has taken for its type."""
    if what == "property" and lines and lines[-1].startswith(":type:"):
        lines[0] = f"{lines.pop().removeprefix(':type:').strip()}: {lines[0]}"
