"""Share a table with all tasks, and count from within them.

    python examples/broadcast_and_accumulator.py

A broadcast value is sent to each executor once. An accumulator is added to in tasks and read in the driver, where each
task that succeeds counts once.
"""

from headwater import SparkConf, SparkContext

COUNTRIES = {"at": "Austria", "ch": "Switzerland", "de": "Germany"}
VISITS = ["at", "de", "xx", "de", "ch", "??", "at", "de"]


def main() -> None:
    with SparkContext(conf=SparkConf().setAppName("broadcast and accumulator")) as sc:
        countries = sc.broadcast(COUNTRIES)
        unknown = sc.accumulator(0)

        def country(code: str) -> list[str]:
            name = countries.value.get(code)
            if name is None:
                unknown.add(1)
                return []
            return [name]

        visits = sc.parallelize(VISITS, 4).flatMap(country).countByValue()
        for name, count in sorted(visits.items()):
            print(f"{name}: {count}")
        print(f"unknown: {unknown.value}")


if __name__ == "__main__":
    main()
