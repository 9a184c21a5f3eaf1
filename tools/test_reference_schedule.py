"""Tests of reference/schedule.py.

    python3 -m unittest discover tools
"""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reference.schedule import KINDS, Schedule


def rates(kind, steps=100, warmup_steps=10):
    schedule = Schedule(kind, steps, warmup_steps, 3.0, (0.1, 0.0))
    return [schedule.learning_rate(step) for step in range(steps)]


class ScheduleTest(unittest.TestCase):
    def test_warm_up_rises_evenly_to_the_peak(self):
        for kind in KINDS:
            for step in range(10):
                self.assertAlmostEqual(rates(kind)[step], 3.0 * (step + 1) / 10)

    def test_without_warm_up_the_first_step_has_the_peak(self):
        for kind in KINDS:
            self.assertEqual(rates(kind, warmup_steps=0)[0], 3.0)

    def test_two_stages_fall_in_a_line_with_a_step_between(self):
        found = rates("two-stage")
        self.assertAlmostEqual(found[49], 3.0 * 51 / 91)
        self.assertAlmostEqual(found[50], 2.0 * 50 / 91)
        self.assertAlmostEqual(found[99], 2.0 / 91)

    def test_cosine_ends_near_a_tenth(self):
        found = rates("cosine")
        self.assertTrue(0.3 < found[-1] < 0.301)
        self.assertTrue(all(a > b for a, b in zip(found[9:], found[10:])))

    def test_constant_stays(self):
        self.assertEqual(set(rates("constant")[9:]), {3.0})

    def test_weight_decay_changes_at_the_turn(self):
        schedule = Schedule("two-stage", 100, 0, 1.0, (0.1, 0.0))
        self.assertEqual([schedule.weight_decay(step) for step in (49, 50)], [0.1, 0.0])


if __name__ == "__main__":
    unittest.main()
