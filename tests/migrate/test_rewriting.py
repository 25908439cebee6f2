"""What `headwater migrate` changes in a program: the names of imports, and nothing else."""

from __future__ import annotations

import pytest

from headwater.migrate.rewriting import rewritten


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import pyspark", "import headwater"),
        ("import pyspark\npyspark.SparkContext()", "import headwater\nheadwater.SparkContext()"),
        ("import pyspark as ps\nps.SparkContext()", "import headwater as ps\nps.SparkContext()"),
        ("import pyspark.sql.functions as F", "import headwater.sql.functions as F"),
        ("import pyspark.sql\npyspark.sql.Row(a=1)", "import headwater.sql\nheadwater.sql.Row(a=1)"),
        ("import os, pyspark, sys", "import os, headwater, sys"),
        ("from pyspark import SparkConf", "from headwater import SparkConf"),
        ("from pyspark.sql.types import *", "from headwater.sql.types import *"),
        ("from   pyspark.streaming import (\n    DStream,\n)", "from   headwater.streaming import (\n    DStream,\n)"),
        ("from \\\n    pyspark import RDD", "from \\\n    headwater import RDD"),
        (
            "from \\\r\n pyspark import RDD\r\nimport pyspark\r\n",
            "from \\\r\n headwater import RDD\r\nimport headwater\r\n",
        ),
        ("\u00e9 = '\u00e9'; from pyspark import RDD", "\u00e9 = '\u00e9'; from headwater import RDD"),
        (
            "try:\n    import pyspark\nexcept ImportError:\n    pyspark = None",
            "try:\n    import headwater\nexcept ImportError:\n    headwater = None",
        ),
        ("def f():\n\tfrom pyspark import RDD", "def f():\n\tfrom headwater import RDD"),
        (
            "x = '''\r\nfrom pyspark import a\r\n'''; import pyspark",
            "x = '''\r\nfrom pyspark import a\r\n'''; import headwater",
        ),
    ],
)
def test_imports_change(program: str, expected: str) -> None:
    assert rewritten(program) == expected


@pytest.mark.parametrize(
    "program",
    [
        "",
        "# import pyspark",
        "'import pyspark'",
        "import pysparkling\nfrom pyspark_cassandra import x",
        "from .pyspark import x\nfrom . import pyspark",
        "from pyspark_x import pyspark",
        "self.pyspark = 1",
        "pyspark = 3; pyspark += 1",  # a name of the program's own
        "import os\nx = '''\nimport pyspark\n'''\x0c\n",
    ],
)
def test_all_else_stays(program: str) -> None:
    assert rewritten(program) == program


def test_a_program_that_is_rewritten_stays() -> None:
    program = "import pyspark\nfrom pyspark import RDD\npyspark.RDD"
    assert rewritten(rewritten(program)) == rewritten(program)


def test_a_program_of_python_2_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        rewritten("import pyspark\nprint 'x'")
