"""9. Import time over the bare interpreter: median of --repeat runs, alternating with `pass`."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


# Byte code is kept, as where a package was installed.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run(code):
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return (time.perf_counter() - begin) * 1000


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--package", default="pyspark", help="package under test")
    p.add_argument("--repeat", type=int, default=15)
    args = p.parse_args()
    with_it = f"import {args.package}"
    run("pass"), run(with_it)  # byte code written, files in the page cache
    bare, imported = [], []
    for _ in range(args.repeat):
        bare.append(run("pass"))
        imported.append(run(with_it))
    a, b = statistics.median(bare), statistics.median(imported)
    print(
        json.dumps(
            {
                "bench": "import",
                "package": args.package,
                "python": sys.version.split()[0],
                "repeat": args.repeat,
                "bare_ms": round(a, 1),
                "import_ms": round(b, 1),
                "over_bare_ms": round(b - a, 1),
                "spread_ms": [round(min(imported) - a, 1), round(max(imported) - a, 1)],
            }
        )
    )


if __name__ == "__main__":
    main()
