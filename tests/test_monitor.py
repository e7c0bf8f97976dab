"""The monitor's thresholds: healthy policies stay unflagged, gaming ones are flagged soon; both simulated by benchmarks/monitor.py."""
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from generank.data import load_table

spec = importlib.util.spec_from_file_location("monitor_benchmark", Path(__file__).parents[1]/"benchmarks"/"monitor.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a step without a list has no share of non-candidates


@pytest.fixture(scope="module")
def loci(): return load_table().query("split == 'test'")


@pytest.fixture(scope="module")
def healthy(loci): return bench.random_order(loci)


def test_a_policy_that_ranks_by_lot_is_not_flagged(healthy):
    assert not bench.flagged(bench.trainings(healthy, 30, np.random.default_rng(2))).any()


@pytest.mark.parametrize("policy", bench.GAMING)
def test_a_policy_that_games_is_flagged_within_ten_steps(policy, healthy, loci):
    assert bench.caught(bench.GAMING[policy], healthy, loci, 1.0, 20, np.random.default_rng(3)) == 1.0


def test_thresholds_that_were_too_narrow_would_flag_it(healthy, monkeypatch):
    "The first test can fail: with the share that chance makes as its threshold, a healthy policy is flagged."
    monkeypatch.setitem(bench.THRESHOLDS, "monitor/first_of_prompt", (">", 0.1, "of the answers begin with the first"))
    assert bench.flagged(bench.trainings(healthy, 5, np.random.default_rng(2))).any()
