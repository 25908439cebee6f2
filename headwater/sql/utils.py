"""The exceptions of SQL, for programs that catch them. Until there is an engine nothing raises them but the last."""

from __future__ import annotations

from headwater.errors import HeadwaterError
from headwater.errors import IllegalArgumentException as IllegalArgumentException

__all__ = ["AnalysisException", "IllegalArgumentException", "ParseException", "StreamingQueryException"]


class AnalysisException(HeadwaterError):
    """A query doesn't fit its tables."""


class ParseException(AnalysisException):
    """A query isn't SQL."""


class StreamingQueryException(HeadwaterError):
    """A query over a stream has failed."""
