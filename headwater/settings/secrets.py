"""Which settings are secrets, to be neither shown nor stored."""

from __future__ import annotations

import re

MASK = "*********(redacted)"
_SECRET = re.compile(
    r"secret|passw|token|credential|connection_string|(access|account|api)[._]?key|[.]key$|[.]sas[._]", re.IGNORECASE
)


def is_secret(key: str) -> bool:
    """Whether a key's value must not be shown or stored.

    >>> is_secret("spark.hadoop.fs.s3a.secret.key"), is_secret("headwater.encryption.keyFile")
    (True, False)
    """
    return _SECRET.search(key) is not None
