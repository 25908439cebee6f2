"""TCP line generator: listens, waits for one client, sends lines, prints one JSON line.

  --rate 0           as fast as the socket takes
  --rate R           R lines/s in ticks of 10 ms
  --steps R1,R2,...  each rate for --seconds / number of steps
  --stamp            each line is "<send time> <number>", one write a line
The first stdout line is the port.  Text lines come pre-generated from gen.lines.
"""

import argparse
import json
import socket
import time

import gen


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--rate", type=float, default=0)
    p.add_argument("--steps", default="")
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--mb", type=float, default=20, help="text to cycle through")
    p.add_argument("--stamp", action="store_true")
    a = p.parse_args()

    if not a.stamp:
        ls, words = gen.lines(int(a.mb * 1e6), 7)
        data = ("\n".join(ls) + "\n").encode()
        ends = [0]
        for l in ls:
            ends.append(ends[-1] + len(l) + 1)  # ASCII: characters = bytes
        view, n = memoryview(data), len(ls)
        words_per_line = words / n

    srv = socket.create_server(("127.0.0.1", a.port))
    print(srv.getsockname()[1], flush=True)
    s, _ = srv.accept()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    t0 = time.time()
    sent, log = 0, []

    def send_lines(k):
        nonlocal sent
        while k > 0:
            i = sent % n
            m = min(k, n - i)
            s.sendall(view[ends[i] : ends[i + m]])
            sent += m
            k -= m

    try:
        if a.stamp:
            while (now := time.time()) < t0 + a.seconds:
                s.sendall(b"%.6f %d\n" % (now, sent))
                sent += 1
                wait = t0 + sent / a.rate - time.time()
                if wait > 0:
                    time.sleep(wait)
        else:
            rates = [float(r) for r in a.steps.split(",") if r] or [a.rate]
            each = a.seconds / len(rates)
            for rate in rates:
                start, base = time.time(), sent
                while (now := time.time()) < start + each:
                    if rate:
                        k = int((now - start) * rate) - (sent - base)
                        send_lines(k)
                        time.sleep(0.01)
                    else:
                        send_lines(2000)
                end = time.time()
                log.append({"rate": rate, "from": start, "to": end, "sent_per_s": round((sent - base) / (end - start))})
    except (BrokenPipeError, ConnectionResetError):
        pass
    took = time.time() - t0
    out = {"sent": sent, "seconds": round(took, 2), "sent_per_s": round(sent / took), "steps": log}
    if not a.stamp:
        out["words_per_line"] = round(words_per_line, 3)
    print(json.dumps(out), flush=True)
    try:
        s.settimeout(60)
        s.recv(1)  # keep the connection open until the client goes
    except OSError:
        pass


if __name__ == "__main__":
    main()
