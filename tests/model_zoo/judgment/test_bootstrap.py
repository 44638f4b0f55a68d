"""The bootstrap: equal to plain recomputation, right coverage under dependence, fast enough to be used everywhere."""

import math
from time import perf_counter

import numpy as np
import pytest
from scipy import stats

from model_zoo._errors import Final
from model_zoo.judgment import bootstrap, metrics


def ar1(rng, n, phi):
    noise = rng.normal(size=n)
    x = np.empty(n)
    x[0] = noise[0] / math.sqrt(1 - phi**2)
    for i in range(1, n):
        x[i] = phi * x[i - 1] + noise[i]
    return x


def test_the_mean_of_independent_values_has_on_average_the_interval_of_the_textbook():
    rng, ratios = np.random.default_rng(1), []
    for seed in range(12):
        x = rng.normal(0.2, 1.0, 400)
        found = bootstrap.mean(x, np.arange(400), seed=seed, resamples=1000).interval(0.90)
        low, high = stats.t.interval(0.90, 399, loc=x.mean(), scale=stats.sem(x))
        assert found.estimate == pytest.approx(x.mean())
        ratios.append((found.high - found.low) / (high - low))
    assert 0.93 < np.mean(ratios) < 1.07


def test_a_one_sided_bound_lies_above_the_two_sided_one_and_falls_with_confidence():
    found = bootstrap.mean(np.random.default_rng(2).normal(size=300), np.arange(300), seed=0)
    bounds = [found.lower_bound(c) for c in (0.9, 0.95, 0.99, 0.999, 0.99999)]
    assert bounds == sorted(bounds, reverse=True)
    assert found.interval(0.95).low < found.lower_bound(0.95) < found.estimate
    assert found.lower_bound(0.975) == pytest.approx(found.interval(0.95).low)


def test_the_same_seed_gives_the_same_bound_and_another_seed_another():
    x, t = np.random.default_rng(3).normal(size=200), np.arange(200)
    a, b, c = (bootstrap.mean(x, t, seed=s).lower_bound() for s in ([7, 0], [7, 0], [7, 1]))
    assert a == b != c


def test_dependence_widens_the_interval():
    rng = np.random.default_rng(4)
    x = ar1(rng, 1000, 0.8)
    ordered, shuffled = (bootstrap.mean(v, np.arange(1000), seed=0) for v in (x, rng.permutation(x)))
    width = [b.interval().high - b.interval().low for b in (ordered, shuffled)]
    # The true factor is sqrt((1 + phi) / (1 - phi)) = 3.
    assert 1.8 < width[0] / width[1] < 4.0
    assert ordered.block_length > 5 > shuffled.block_length


def test_rows_of_one_moment_are_one_draw():
    # Four symbols that move alike carry the information of one: copies must not narrow the interval.
    x, t = np.random.default_rng(5).normal(size=300), np.arange(300)
    one = bootstrap.mean(x, t, seed=0).interval()
    four = bootstrap.mean(np.tile(x, 4), np.tile(t, 4), seed=0).interval()
    assert (four.low, four.high) == (pytest.approx(one.low), pytest.approx(one.high))


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(6)
    t, top, bottom = np.repeat(np.arange(100), 3), rng.normal(size=300), rng.uniform(1, 2, 300)
    shuffle = rng.permutation(300)
    a = bootstrap.ratio_of_means(top, bottom, t, seed=1, resamples=200)
    b = bootstrap.ratio_of_means(top[shuffle], bottom[shuffle], t[shuffle], seed=1, resamples=200)
    np.testing.assert_allclose(a.draws, b.draws, rtol=1e-9)


def test_the_fast_paths_equal_the_general_one():
    rng = np.random.default_rng(7)
    times = np.sort(rng.integers(0, 150, 400))
    y = (rng.random(400) < 0.5).astype(float)
    q = np.round(np.clip(0.5 + 0.1 * (y - 0.5) + rng.normal(0, 0.1, 400), 0.02, 0.98), 2)
    loss, base = metrics.log_losses(q, y), metrics.log_losses(0.5, y)
    common = {"seed": 3, "resamples": 100, "least_block": 50.0}  # the same block length for all
    skill = bootstrap.ratio_of_means(base - loss, base, times, **common)
    slow = bootstrap.statistic(lambda rows: 1 - loss[rows].mean() / base[rows].mean(), times, base - loss, **common)
    np.testing.assert_allclose(skill.draws, slow.draws, rtol=1e-9)
    assert skill.estimate == pytest.approx(metrics.direction_skill(q, y, 0.5))
    area = bootstrap.auc(q, y, times, **common)
    slow = bootstrap.statistic(lambda rows: metrics.direction_auc(q[rows], y[rows]), times, q * y, **common)
    np.testing.assert_allclose(area.draws, slow.draws, rtol=1e-9)
    assert area.estimate == pytest.approx(metrics.direction_auc(q, y))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "phi"), [(60, 0.0), (250, 0.0), (1000, 0.5), (1000, 0.8)])
def test_bounds_of_a_dependent_mean_miss_about_as_often_as_they_say(n, phi):
    rng, runs = np.random.default_rng(8), 200
    found = [bootstrap.mean(ar1(rng, n, phi), np.arange(n), seed=i, resamples=800) for i in range(runs)]
    for confidence, limit in ((0.95, 0.05), (0.9875, 0.0125)):
        missed = sum(b.lower_bound(confidence) > 0 for b in found)
        # The block bootstrap is known to miss somewhat more than it says under strong dependence: allow 1.5 times.
        assert stats.binom.cdf(missed, runs, limit) > 0.001 and stats.binom.sf(missed - 1, runs, 1.5 * limit) > 0.001


def test_a_bound_misses_about_as_often_as_it_says_on_a_few_months_of_days():
    rng, runs = np.random.default_rng(9), 150
    missed = sum(
        bootstrap.mean(rng.standard_t(4, 60), np.arange(60), seed=i, resamples=300).lower_bound(0.9) > 0 for i in range(runs)
    )
    assert 4 <= missed <= 28, "15 expected"


@pytest.mark.parametrize("level", [0.0, 1.5])
def test_a_series_that_never_changes_has_itself_as_bound(level):
    found = bootstrap.mean(np.full(50, level), np.arange(50), seed=0)
    assert found.lower_bound() == level and found.block_length == 1.0


def test_bounds_are_undefined_where_the_statistic_is():
    none = np.array([])
    assert math.isnan(bootstrap.mean(none, none.astype(np.int64), seed=0).lower_bound())
    assert math.isnan(bootstrap.auc(none, none, none.astype(np.int64), seed=0).lower_bound())
    one_sided = bootstrap.auc(np.linspace(0, 1, 50), np.ones(50), np.arange(50), seed=0)
    assert math.isnan(one_sided.estimate) and math.isnan(one_sided.interval().low)
    single_moment = bootstrap.mean(np.arange(9.0), np.zeros(9, dtype=np.int64), seed=0)
    assert math.isnan(single_moment.lower_bound()), "one moment, however many rows, has no spread"


def test_blocks_are_at_least_as_long_as_asked():
    found = bootstrap.mean(np.random.default_rng(1).normal(size=300), np.arange(300), seed=0, least_block=12.0)
    assert found.block_length >= 12.0


def test_a_confidence_that_is_none_is_refused():
    found = bootstrap.mean(np.arange(50.0), np.arange(50), seed=0, resamples=50)
    for confidence in (0.0, 1.0, 95.0):
        with pytest.raises(Final, match="confidence"):
            found.lower_bound(confidence)


def test_2_000_resamples_of_5_000_rows_take_a_fraction_of_a_second():
    rng = np.random.default_rng(10)
    loss, times = rng.normal(0.69, 0.1, 5000), np.arange(5000)
    bootstrap.mean(loss[:100], times[:100], seed=0, resamples=10)  # imports
    took_s = []
    for seed in range(2):
        start = perf_counter()
        bootstrap.ratio_of_means(0.693 - loss, np.full(5000, 0.693), times, seed=seed).lower_bound()
        took_s.append(perf_counter() - start)
    assert min(took_s) < 1.5, "0.13 s on a quiet machine; the margin is for a busy one"
