"""The comparison and the tables must have teeth: `benches/peers/.venv/bin/python benches/peers/test_peers.py`."""

import types
import unittest

import numpy as np

import report
import worker
import workloads


def data(lengths=None):
    expected = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    return types.SimpleNamespace(expected=expected, row_lengths=lengths, steps=3)


class Fake:
    """A runtime that gives what it is told."""

    atol = worker.ATOL

    def __init__(self, output):
        self.output = output

    def prepare(self, _data):
        pass

    def run(self):
        return self.output


class Comparison(unittest.TestCase):
    def verdict(self, output, lengths=None):
        kept, worker.Data = worker.Data, lambda _path: data(lengths)
        try:
            return worker.prepare(Fake(output), "")
        finally:
            worker.Data = kept

    def test_the_oracle_itself_passes(self):
        self.assertEqual(self.verdict(data().expected), {"ok": True, "error": 0.0})

    def test_a_nan_a_difference_and_another_shape_fail(self):
        for place, value in (((0, 0, 0), np.nan), ((2, 1, 1), 11.01)):
            output = data().expected
            output[place] = value
            self.assertIn("wrong", self.verdict(output))
        self.assertIn("wrong", self.verdict(data().expected.transpose(1, 0, 2)))

    def test_only_padding_may_hold_anything(self):
        output = data().expected
        output[1:, 1] = np.nan
        self.assertIn("ok", self.verdict(output, np.array([3, 1])))
        output[1, 0] = 0
        self.assertIn("wrong", self.verdict(output, np.array([3, 1])))


class Workloads(unittest.TestCase):
    def test_lengths_are_within_the_steps_and_the_longest_has_all(self):
        lengths = workloads.draw_lengths(np.random.default_rng(1), 64, 256)
        self.assertEqual((lengths.min() >= 1, lengths.max()), (True, 256))
        self.assertLess(np.median(lengths), 160)

    def test_the_list_has_every_plain_workload_and_no_lengths_for_one_sequence(self):
        names = [w.name for w in workloads.workloads()]
        self.assertEqual((len(names), len(set(names))), (13, 13))
        self.assertNotIn("rnn-I64-H128-B1-T1000-lengths", names)


class Tables(unittest.TestCase):
    def test_a_ratio_is_the_peers_time_over_ours_and_a_reason_is_kept(self):
        w = workloads.workloads()[0]
        base = {"workload": w.name, "clock": "host"}
        results = {"workloads": [report.workload_row(w)], "records": [
            base | {"runtime": "ours-gpu"} | report.summary([0.010]),
            base | {"runtime": "ours-cpu", "na": "why not"},
            base | {"runtime": "burn-wgpu"} | report.summary([0.5, 0.2, 0.3]),
        ]}
        row = report.table(results, "host", report.Notes())[-1]
        self.assertEqual(row, "| RNN (64, 128, 1, 1000) | **10.0** | n/a [1] | 300 (30.0× / -) |")


if __name__ == "__main__":
    unittest.main()
