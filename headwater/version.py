"""The version, where PySpark has it."""

from headwater import __version__ as __version__
