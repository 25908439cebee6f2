"""The page of all settings, `docs/reference/configuration.md`, made from the table."""

from __future__ import annotations

from headwater.settings.setting import Setting
from headwater.settings.table import SECTIONS

_HEAD = """\
# Configuration

Generated from the tables in `headwater/settings/` by `python -m headwater.settings > docs/reference/configuration.md`.

A setting is given by `SparkConf().set(key, value)`, by `SparkContext.setSystemProperty`, by spark-submit's options in
the environment variable `PYSPARK_SUBMIT_ARGS` (`--master local[2] --conf spark.ui.port=4050 pyspark-shell`), or in
`spark-defaults.conf` in the directory that `SPARK_CONF_DIR` names; the first of them wins. A value that can't be
honoured raises `IllegalArgumentException` when it is set. A `spark.*` or `headwater.*` key that isn't listed here
warns with the nearest name, and is kept.

- A **duration** is a whole number with `us`, `ms`, `s`, `m` or `min`, `h`, `d`; alone it counts the unit in brackets.
- A **size** is a whole number with `b`, `k`, `m`, `g`, `t` or `p` (powers of 1024; `kb` and its like too); alone it
  counts the unit in brackets.
- A **boolean** is `true` or `false`, in any case of letters.
- A key that ends in `.*` stands for all that begin so.

Each setting is one of:

- **in force**: it does what its meaning says.
- **no effect**: it asks for what this version doesn't do. The value is checked and kept, and does nothing; a
  `SparkContext` that starts with a value other than the default logs a warning.
- **accepted**: kept for programs that set it. It has no meaning here, and the last column says why.
- **refused**: it asks for a protection that isn't there, as the last column says. Setting it raises, unless the value
  asks for nothing (`false`, or none).
"""
_COLUMNS = "| key | value | default | stands | meaning |\n|---|---|---|---|---|\n"


def page() -> str:
    """The text of `docs/reference/configuration.md`."""
    return _HEAD + "".join(
        f"\n## {title}\n\n{_COLUMNS}{''.join(map(_row, settings))}" for title, settings in SECTIONS.items()
    )


def _row(setting: Setting) -> str:
    cells = (f"`{setting.key}`", setting.kind.described(), _default(setting), setting.standing.value, _meaning(setting))
    return f"| {' | '.join(cells)} |\n"


def _default(setting: Setting) -> str:
    if setting.default:
        return f"`{setting.default}`"
    if setting.same_as:
        share = "" if setting.share == 1.0 else f"{setting.share:g} × "
        return f"{share}`{setting.same_as}`"
    return setting.absent


def _meaning(setting: Setting) -> str:
    older = ", ".join(f"`{alias}`" for alias in setting.aliases)
    return f"{setting.meaning} Older name: {older}." if older else setting.meaning
