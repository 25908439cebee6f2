"""Test a streaming program batch by batch, without a network and without waiting.

    python examples/unit_test.py

With pytest it is the same: a harness in a `with` statement, or in a fixture.
"""

import unittest

from headwater.streaming import DStream
from headwater.testing import StreamHarness


def busy_pages(clicks: DStream) -> DStream:
    """The program: the pages that were clicked three times or more within the last two minutes, each minute."""
    counts = clicks.map(lambda page: (page, 1)).reduceByKeyAndWindow(lambda a, b: a + b, None, 120, 60)
    return counts.filter(lambda pair: pair[1] >= 3)


class BusyPagesTest(unittest.TestCase):
    def test_clicks_of_two_minutes_count_together(self) -> None:
        with StreamHarness(batchDuration=60) as harness:
            clicks = harness.stream([["home", "shop", "home"], ["home"], ["shop", "shop"]])
            busy = harness.collect(busy_pages(clicks), dict)
            harness.run(4)
        self.assertEqual(busy, [{}, {"home": 3}, {}, {}])

    def test_what_goes_wrong_in_a_batch_is_raised(self) -> None:
        with StreamHarness(batchDuration=60) as harness:
            harness.collect(busy_pages(harness.stream([[{"no": "page"}]])))
            with self.assertRaisesRegex(TypeError, "unhashable"):
                harness.run()


if __name__ == "__main__":
    unittest.main()
