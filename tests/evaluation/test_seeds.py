"""One figure over several seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fovea.errors import UsageError
from fovea.evaluation.seeds import over_seeds


def test_mean_deviation_and_interval_are_those_of_scipy():
    values = [0.91, 0.93, 0.925, 0.915]
    found = over_seeds(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))


def test_it_says_every_value_and_how_many():
    assert str(over_seeds([0.5, 0.7])) == (
        "mean 60.00% (95 % interval of the mean ± 127.06%), standard deviation 14.14% over 2 seeds (50.00%, 70.00%)"
    )


def test_one_seed_has_no_spread():
    with pytest.raises(UsageError, match="wants two values or more; there are 1"):
        over_seeds([0.5])
