"""The `headwater` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

import headwater

WRONG_USAGE = 2  # as argparse's own errors
INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Arguments:
        arguments: those after the program's name; None takes the process's own.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    from headwater.deploy import demo
    from headwater.errors import IllegalArgumentException

    try:
        return demo.run(seconds=options.seconds, lines_per_s=options.rate, master=options.master)
    except IllegalArgumentException as error:  # the master, or a setting of spark-defaults.conf
        print(f"headwater demo: error: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:  # before the demo began, or a second one while the first one's stop was under way
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headwater", description="Spark Streaming in Python, without a JVM.")
    parser.add_argument("--version", action="version", version=f"headwater {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="count the words of a small text server every second",
        description="Count the words that a small text server on this machine sends, in batches of a second.",
    )
    demo.add_argument("--seconds", type=_positive, metavar="N", help="end after so long (default: on Ctrl-C)")
    demo.add_argument("--rate", type=_positive, default=20.0, metavar="N", help="lines a second (default: 20)")
    demo.add_argument("--master", default="local[2]", help="where tasks run (default: local[2])")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _version() -> str:
    version = getattr(headwater, "__version__", None)
    return version if isinstance(version, str) else metadata.version("headwater")
