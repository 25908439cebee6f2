"""What of an exception crosses to another process: text of bounded length, and the exception as opaque bytes.

User code can make an exception of which no method may be trusted: its text may be endless, its unpickling may raise.
So nothing here raises, and the bytes are unpickled in one place only, by a reader that can do with the text instead.
"""

from __future__ import annotations

import traceback

from headwater.base.pickling import dumps, loads

# What people read of an exception: enough for any traceback, and little enough for every log and message.
TEXT_CHARS_MAX = 64 << 10
# Of an exception's pickle; a larger one is told as text.
PICKLE_BYTES_MAX = 1 << 20


def shortened(text: str) -> str:
    """A text for people, as a plain string, without its middle if it is very long.

    >>> shortened("ValueError: wrong")
    'ValueError: wrong'
    >>> len(shortened("x" * 200_000_000)) < 70_000
    True
    """
    text = str.__str__(text)  # of a subclass this makes a plain one, whatever methods that has
    if len(text) <= TEXT_CHARS_MAX:
        return text
    half = TEXT_CHARS_MAX // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters are left out here ...\n{text[-half:]}"


def description(error: BaseException) -> str:
    """An exception's type and text; its type alone if the text can't be had.

    >>> description(KeyError("user"))
    "KeyError: 'user'"
    """
    name = type(error).__name__
    try:
        text = shortened(str(error))
    except BaseException as failure:
        return f"{name} (its text can't be had: {type(failure).__name__})"
    return f"{name}: {text}" if text else name


def pickled(error: BaseException) -> bytes:
    """The exception, without its traceback; nothing if it is too large or doesn't survive the way (many don't)."""
    if not isinstance(error, Exception):
        return b""  # SystemExit and its like would end the thread that raises them again
    try:
        data = dumps(error.with_traceback(None))
        return data if len(data) <= PICKLE_BYTES_MAX and isinstance(loads(data), Exception) else b""
    except BaseException:
        return b""


def unpickled(data: bytes) -> Exception | None:
    """The exception, or None if only its text is to be had: it can't be unpickled here, or must not be raised as it is.

    A StopIteration would pass for the end of whatever the caller iterates over: `list(map(action, rdds))`.
    """
    if not data:
        return None
    try:
        error = loads(data)
    except BaseException:
        return None
    if not isinstance(error, Exception) or isinstance(error, (StopIteration, StopAsyncIteration)):
        return None
    return error


def error_text(error: BaseException | None) -> str:
    """An error for people: one line where the outside world failed, the traceback where the code did."""
    if error is None:
        return ""
    if isinstance(error, OSError) or error.__traceback__ is None:
        return description(error)
    try:
        return shortened("".join(traceback.format_exception(error)).rstrip())
    except Exception:  # of its own methods
        return description(error)
