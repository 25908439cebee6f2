"""How sources make text of bytes, unless a program says otherwise."""

from __future__ import annotations


def utf8_decoder(s: bytes | None) -> str | None:
    """The text of UTF-8 bytes; None of None.

    >>> utf8_decoder(b"caf\\xc3\\xa9"), utf8_decoder(None)
    ('café', None)
    """
    return None if s is None else s.decode("utf-8")
