"""The `headwater` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import headwater

WRONG_USAGE = 2  # as argparse's own errors
INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: those after the program's name; None takes the process's own.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    from headwater.errors import HeadwaterError

    try:
        return int(options.run(options))
    except HeadwaterError as error:  # an option, a setting, what a directory holds
        print(f"headwater {options.command}: error: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:  # before the demo began, or a second one while the first one's stop was under way
        return INTERRUPTED


def _examples(options: argparse.Namespace) -> int:
    from headwater.deploy import examples

    try:
        if options.directory is not None:
            examples.copy(options.directory)
            print(f"Copied to {options.directory}:")
        for name, summary in examples.summaries().items():
            print(f"  {name:34} {summary}")
        if options.directory is None:
            print("\n`headwater examples examples` copies them to the directory examples, where they are run from.")
    except OSError as error:
        print(f"headwater examples: error: {error}", file=sys.stderr)
        return WRONG_USAGE
    return 0


def _demo(options: argparse.Namespace) -> int:
    from headwater.deploy import demo

    return demo.run(seconds=options.seconds, lines_per_s=options.rate, master=options.master)


def _migrate(options: argparse.Namespace) -> int:
    from headwater.migrate import command

    return command.run(options.paths, write=options.write)


def _checkpoint(options: argparse.Namespace) -> int:
    from headwater.streaming.recovery import pending

    print(pending.drop(options.directory, options.drop) if options.drop else pending.describe(options.directory))
    return 0


def _supervise(options: argparse.Namespace) -> int:
    from headwater.deploy import supervise

    policy = supervise.RestartPolicy(
        first_pause_ms=round(options.first_pause * 1000),
        longest_pause_ms=round(options.longest_pause * 1000),
        reset_after_ms=round(options.reset_after * 1000),
        restarts_max=options.max_restarts,
    )
    return supervise.run(options.program, options.arguments, policy=policy, log=options.log, pid_file=options.pid_file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headwater", description="Spark Streaming in Python, without a JVM.")
    parser.add_argument("--version", action="version", version=f"headwater {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="count the words of a small text server every second",
        description="Count the words that a small text server on this machine sends, in batches of a second.",
    )
    demo.add_argument("--seconds", type=_positive, metavar="N", help="end after N seconds (default: on Ctrl-C)")
    demo.add_argument("--rate", type=_positive, default=20.0, metavar="N", help="lines a second (default: 20)")
    demo.add_argument("--master", default="local[2]", help="where tasks run (default: local[2])")
    demo.set_defaults(run=_demo)
    examples = commands.add_parser(
        "examples",
        help="list the example programs, or copy them",
        description="List the example programs that come with Headwater, or copy them to a directory.",
    )
    examples.add_argument(
        "directory", type=Path, nargs="?", metavar="DIRECTORY", help="copy them there; it must not exist yet"
    )
    examples.set_defaults(run=_examples)
    _add_migrate(commands)
    checkpoint = commands.add_parser(
        "checkpoint",
        help="show which batches wait in a directory for checkpoints, or drop one",
        description="Show which batches the next driver will run again. With --drop, have it leave one out that can't "
        "be processed: its data isn't read again. No driver may be running.",
    )
    checkpoint.add_argument("directory", metavar="DIRECTORY", help="for checkpoints")
    checkpoint.add_argument(
        "--drop", type=_count, action="append", metavar="BATCH_TIME", help="in ms, as shown; may be repeated"
    )
    checkpoint.set_defaults(run=_checkpoint)
    _add_supervise(commands)
    return parser


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    migrate = commands.add_parser(
        "migrate",
        help="change the imports of PySpark programs to Headwater's, and say what won't work",
        description="Change `pyspark` to `headwater` in the imports of programs, and list, with their lines, the uses "
        "of what Headwater doesn't have. Without -w the changes are shown as a diff, and nothing is written.",
        epilog="The exit code is 0, or 1 if there are lines that won't work, or 2 if a file can't be read or isn't "
        "Python 3.",
    )
    migrate.add_argument("paths", metavar="PATH", nargs="+", help="a program, or a directory of them")
    migrate.add_argument("-w", "--write", action="store_true", help="write the changes into the files")
    migrate.set_defaults(run=_migrate)


def _add_supervise(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    supervise = commands.add_parser(
        "supervise",
        help="run a program, and start it again when it dies",
        usage="headwater supervise [options] PROGRAM [ARGUMENT ...]",
        description="Run `python PROGRAM ARGUMENT...`, and start it again when it dies: when it ends with an exit code "
        "other than 0, or by a signal. SIGTERM, SIGINT and SIGHUP are passed on to it and end the supervision once it "
        "has ended; a second one kills it. The exit code is the program's last one, or 128 + n if signal n killed it.",
        epilog="Options stand before PROGRAM; what follows it is the program's. Example: headwater supervise "
        "--log restarts.log app.py --topic clicks",
    )
    supervise.set_defaults(run=_supervise)
    supervise.add_argument("program", metavar="PROGRAM", help="a Python script")
    supervise.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="the script's own")
    supervise.add_argument(
        "--max-restarts", type=_count, default=20, metavar="N", help="restarts in any hour; 0: none (default: 20)"
    )
    supervise.add_argument(
        "--first-pause",
        type=_positive,
        default=1.0,
        metavar="S",
        help="seconds before the first restart; each further one waits twice as long (default: 1)",
    )
    supervise.add_argument(
        "--longest-pause", type=_positive, default=60.0, metavar="S", help="but at most S seconds (default: 60)"
    )
    supervise.add_argument(
        "--reset-after",
        type=_positive,
        default=60.0,
        metavar="S",
        help="after a program that ran for this many seconds, begin with the first pause again (default: 60)",
    )
    supervise.add_argument("--log", metavar="FILE", help="append starts and ends to this file (default: stderr)")
    supervise.add_argument("--pid-file", metavar="FILE", help="have the supervisor's process id in it while it runs")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


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
