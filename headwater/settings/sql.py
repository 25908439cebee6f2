"""The settings in force of SQL and of its engine."""

from __future__ import annotations

from headwater.settings.kinds import Boolean, Size, Text
from headwater.settings.setting import Sections, Setting

SECTIONS: Sections = {
    "SQL": (
        Setting("spark.sql.warehouse.dir", Text(), "",
            "Directory of tables that are made without a location, and of the catalogue of all tables.",
            absent="`spark-warehouse` in the working directory"),
        Setting("spark.sql.*", Text(), "",
            "Settings of SQL, handed on to its engine, which knows a part of Spark's: see docs/sql.md."),
        Setting("headwater.sql.engine.memoryLimit", Size(least=1), "2g",
            "The engine's process is replaced, between queries, when it has more than this in memory: views, settings "
            "and functions are there again in the next one."),
        Setting("headwater.sql.engine.unprotected", Boolean(), "false",
            "Start the engine also where other users of the machine can't be kept from its port, over which they "
            "could act as this user: see docs/sql.md."),
    ),
}  # fmt: skip
