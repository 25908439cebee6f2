"""How sources make text of bytes, unless a program says otherwise."""

from __future__ import annotations


def utf8_decoder(s: bytes | None) -> str | None:
    """The text of UTF-8 bytes; None of None.

    >>> utf8_decoder(b"caf\\xc3\\xa9"), utf8_decoder(None)
    ('café', None)
    """
    return None if s is None else s.decode("utf-8")


def count_undecodable(data: bytes) -> int:
    """How many of these lines are not UTF-8; a pass in C over lines that are."""
    if data.isascii() or _is_utf8(data):
        return 0
    return sum(not _is_utf8(line) for line in data.split(b"\n"))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
