"""Follow what users do, and tell of a session once it is over: mapWithState with a timeout.

    python examples/sessions.py [HOST [PORT [IDLE [SECONDS]]]]

Serve lines "USER ACTION" first, in another terminal: nc -lk 9999. A user who did nothing for more than IDLE seconds
(10) has ended a session: who, and how many actions it had, is printed. It ends after SECONDS, or on Ctrl-C.
"""

import sys
import tempfile

from headwater import SparkConf, SparkContext
from headwater.streaming import State, StateSpec, StreamingContext


def session(user: str, action: str | None, actions: State) -> tuple[str, int] | None:
    """The session that has ended, or None."""
    if actions.isTimingOut():
        return user, actions.get()
    actions.update((actions.getOption() or 0) + 1)
    return None


def main() -> None:
    host = sys.argv[1] if len(sys.argv) > 1 else "localhost"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9999
    idle = float(sys.argv[3]) if len(sys.argv) > 3 else 10.0
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("sessions"))
    ssc = StreamingContext(sc, 1)
    with tempfile.TemporaryDirectory() as directory:
        ssc.checkpoint(directory)  # where the sessions are kept: a worker that dies loses nothing
        actions = ssc.socketTextStream(host, port).map(lambda line: tuple(line.split(" ", 1)))
        ended = actions.mapWithState(StateSpec.function(session).timeout(idle)).filter(lambda one: one is not None)
        ended.pprint()

        try:
            ssc.start()
            ssc.awaitTermination(seconds)
        except KeyboardInterrupt:
            pass
        finally:
            ssc.stop()


if __name__ == "__main__":
    main()
