"""The engine's process: a Sail server for one client. It ends when the socket pair to its driver does.

Lines of JSON come from the driver over that pair, and are answered in order: see `engine.py`, which sends them.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from functools import partial

from headwater import broadcast
from headwater.engine import blockids

_SO_ATTACH_FILTER = 26
_DROP_ALL = bytes([0x06, 0, 0, 0, 0, 0, 0, 0])  # of classic BPF: return 0


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def shut(port: int) -> None:
    """Have the kernel drop every packet for a listening socket of ours: connections that stand go on.

    Raises:
        OSError: it refuses; or no socket of this process listens at `port` of 127.0.0.1.
    """
    code = (ctypes.c_ubyte * len(_DROP_ALL))(*_DROP_ALL)
    program = _Program(1, ctypes.cast(code, ctypes.c_void_p).value)
    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.sizeof(program)
    if libc.setsockopt(_listener(port), socket.SOL_SOCKET, _SO_ATTACH_FILTER, ctypes.byref(program), size):
        raise OSError(ctypes.get_errno(), "SO_ATTACH_FILTER")


def _listener(port: int) -> int:
    for name in os.listdir("/proc/self/fd"):
        try:
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # it's no socket, or has been closed since
            continue
        with copy:
            if copy.family != socket.AF_INET or copy.type != socket.SOCK_STREAM:
                continue
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and copy.getsockname()[1] == port:
                return int(name)
    raise OSError(f"no socket of this process listens at port {port}")


def serve(control: socket.socket) -> None:
    """Start the server, and do what the driver says until it is gone."""
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    _, port = server.listening_address
    with control, control.makefile("rw", encoding="utf-8") as lines:

        def answer(value: object) -> None:
            print(json.dumps(value), file=lines, flush=True)

        answer(port)
        for line in lines:
            request = json.loads(line)
            if request == "shut":
                try:
                    shut(port)
                    answer("")
                except OSError as error:
                    answer(str(error))
            else:  # where the driver imports from, and its working directory
                sys.path[:] = request["path"]
                os.chdir(request["directory"])
                answer("")


def _read_broadcast(directory: str, broadcast_id: int) -> bytes:
    with open(os.path.join(directory, blockids.broadcast(broadcast_id)), "rb") as file:
        return file.read()


if __name__ == "__main__":
    broadcast.set_reader(partial(_read_broadcast, sys.argv[2]))
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
    finally:
        sys.stderr.flush()
        os._exit(0)  # queries that run are nobody's any more
