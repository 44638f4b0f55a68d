"""Related symbols in true UTC tell the clock of a file where its own bars do not, and only where their own is right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store._clock_path import candidates
from feature_store._clock_related import Related, conflict, relate
from feature_store._clock_related_cases import draw_related
from feature_store._clock_weeks import WEEK, measure
from feature_store.clock import server_to_utc, utc_to_server
from feature_store.clock_inference import Reference, infer_clock
from tests.feature_store.test_clock_inference import market

RULE = "eet"


@pytest.fixture(scope="module")
def file():
    """Two years of hours, without the Sundays of its own clock and without the usual hours: alone it tells no clock."""
    utc_s, close = market((2020, 1, 6), 730, 3600, shape=0.0)
    return utc_s, close, (utc_to_server(utc_s, RULE) // 86400 + 3) % 7 != 6


def kin(file, strength, *, seed=3, name="other GBPUSD"):
    """A series that moves with the file's market by the given correlation."""
    utc_s, close, _ = file
    moves = np.diff(np.log(close), prepend=np.log(close[0]))
    own = np.random.default_rng(seed).permutation(moves)
    price = np.exp(np.cumsum(strength * moves + np.sqrt(1 - strength**2) * own))
    return Reference(name, utc_s, price)


def told(file, *related, references=()):
    utc_s, close, kept = file
    wall_s = utc_to_server(utc_s[kept], RULE)
    return infer_clock(wall_s, close[kept], "H1", "EURUSD", references=references, related=related)


def weighed(file, one, *, free=True):
    utc_s, close, kept = file
    wall_s = utc_to_server(utc_s[kept], RULE)
    weeks = measure(wall_s, close[kept], 3600, None)
    cell = np.searchsorted(weeks.cut_s + WEEK, wall_s, side="right")
    clocks = candidates(weeks.cut_s)
    mask = np.full(weeks.cut_s.size, free)
    return relate(wall_s, close[kept], 3600, cell, clocks, weeks.cut_s, [one], mask), clocks


@pytest.mark.parametrize("strength", [0.5, -0.5, 0.8])
def test_a_related_series_of_either_sign_tells_what_the_bars_alone_leave_open(file, strength):
    assert told(file).rule is None
    verdict = told(file, kin(file, strength))
    assert verdict.rule == RULE
    line = next(line for line in verdict.evidence if line.startswith("related: moves with other GBPUSD"))
    assert f"correlation {'-' if strength < 0 else '+'}0." in line
    assert any("within 1 nat" in line for line in verdict.evidence)


def test_a_series_that_has_nothing_in_common_proves_and_costs_nothing(file):
    related, _ = weighed(file, kin(file, 0.0))
    assert not related.nats.any()
    assert told(file, kin(file, 0.0)) == told(file)


@pytest.mark.parametrize("hours", [-3, -1, -0.5, 0.5, 1, 3])
def test_a_related_series_whose_own_clock_is_off_is_no_witness(file, hours):
    one = kin(file, 0.8)
    off = Reference(one.feed, one.opens_s + int(hours * 3600), one.close)
    related, _ = weighed(file, off)
    assert not related.nats.any()
    assert told(file, off).rule is None


def test_a_related_series_read_by_the_other_summer_time_is_no_witness_in_the_weeks_that_matter(file):
    one = kin(file, 0.8)
    misread = server_to_utc(utc_to_server(one.opens_s, "ny+7"), "eet")
    verdict = told(file, Reference(one.feed, *(part[np.unique(misread, return_index=True)[1]] for part in (misread, one.close))))
    assert verdict.rule in (RULE, None)


def test_weeks_that_a_feed_of_the_symbol_covers_are_not_asked_about(file):
    related, _ = weighed(file, kin(file, 0.9), free=False)
    assert not related.nats.any()
    utc_s, close, _ = file
    verdict = told(file, kin(file, 0.9), references=[Reference("same", utc_s, close)])
    assert verdict.rule == RULE
    assert not any(line.startswith("related") for line in verdict.evidence)


@settings(max_examples=15, deadline=None)
@given(strength=st.floats(-0.95, 0.95), seed=st.integers(0, 99))
def test_a_week_never_costs_a_clock_more_than_leaving_it_and_coming_back(file, strength, seed):
    related, _ = weighed(file, kin(file, strength, seed=seed))
    assert np.isfinite(related.nats).all()
    assert related.nats.min() >= 0
    assert related.nats.max() <= 6
    assert np.abs(related.strength).max() <= 0.95


def test_two_feeds_of_one_market_prove_no_more_than_the_stronger():
    utc_s, close = market((2020, 1, 6), 365, 3600, shape=0.0)
    file = utc_s, close, np.ones(utc_s.size, dtype=bool)
    one = kin(file, 0.5)
    kept = file[2]
    weeks = measure(utc_s, close, 3600, None)
    cell = np.searchsorted(weeks.cut_s + WEEK, utc_s, side="right")
    arguments = (utc_s, close[kept], 3600, cell, candidates(weeks.cut_s), weeks.cut_s)
    free = np.ones(weeks.cut_s.size, dtype=bool)
    assert np.array_equal(relate(*arguments, [one, one], free).nats, relate(*arguments, [one], free).nats)


def test_related_series_that_speak_for_another_clock_than_the_chosen_one_are_a_conflict():
    cut_s = np.array([1_577_572_200 + WEEK * n for n in range(3)])
    clocks = candidates(cut_s)
    nats = np.full((3, 53), 3.0)
    nats[:, 24] = 0.0  # UTC
    related = Related(nats, ("other GBPUSD",), np.ones((1, 3)))
    assert conflict(related, clocks, np.full(3, clocks.rules.index("utc")), 5.2) == ""
    line = conflict(related, clocks, np.full(3, clocks.rules.index("utc+1")), 5.2)
    assert "other GBPUSD" in line and "agree best with utc" in line and "--clock" in line


def test_made_up_related_series_have_the_strength_that_was_drawn_and_rising_times():
    utc_s, close = market((2020, 1, 6), 365, 1800)
    names = []
    for seed in range(40):
        drawn, told_of = draw_related(np.random.default_rng(seed), utc_s, close)
        names.append(told_of)
        for one in drawn:
            assert (np.diff(one.opens_s) > 0).all()
            assert one.opens_s.size == one.close.size
            assert (one.close > 0).all()
    assert {word for text in names for word in text.replace(";", "").replace(",", "").split()} >= {
        "right", "shifted", "other-saving", "steady", "changing", "whole", "half", "late-open", "0.0", "0.9",
    }  # fmt: skip
