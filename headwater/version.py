"""The version, where PySpark has it."""

__version__ = "0.1.0"
