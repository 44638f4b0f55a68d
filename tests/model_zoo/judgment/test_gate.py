"""The gate: strong candidates pass, luck rarely does, and every candidate is told why in words."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from model_zoo._errors import Final
from model_zoo.judgment.gate import Candidate, judge, leak_alarm


def candidate(family, seed, *, skill=0.0, net=0.0, validation=0.01, moments=400, days=90, trades=200):
    """Losses whose true mean is (1 - skill) of the base's, and daily returns of 1 % deviation and true mean `net`."""
    rng = np.random.default_rng([seed, *family.encode()])
    base = np.full(moments, math.log(2))
    loss = base * (1 - skill) + rng.normal(0, 0.1, moments)
    return Candidate(family, validation, 3600 * np.arange(moments), loss, base, rng.normal(net, 0.01, days), trades)


STRONG = {"skill": 0.05, "net": 0.005}


def test_a_strong_candidate_is_promoted_among_weak_ones():
    verdict = judge([candidate("linear", 1), candidate("xgboost", 1, **STRONG)], seed=0)
    assert verdict.promoted == "xgboost"
    assert verdict.summary.startswith("xgboost is promoted: on the holdout, direction skill +4.30% (at least +")
    linear, xgboost = verdict.candidates
    assert xgboost.passed and xgboost.promoted and xgboost.skill_low > 0 and xgboost.net_low > 0
    assert not linear.passed and linear.reason.startswith("no edge shown")
    assert verdict.sample == "holdout"


@pytest.mark.parametrize(
    ("strengths", "words"),
    [
        ({"skill": 0.05, "net": -0.001}, "net return on the holdout is"),
        ({"skill": -0.01, "net": 0.005}, "direction skill on the holdout is"),
    ],
)
def test_one_good_bound_alone_does_not_pass_and_the_reason_names_the_other(strengths, words):
    verdict = judge([candidate("xgboost", 2, **strengths)], seed=0)
    assert verdict.promoted is None
    assert words in verdict.candidates[0].reason and " and " not in verdict.candidates[0].reason


def test_of_those_that_pass_the_best_validation_skill_wins_not_the_best_holdout():
    loud = candidate("catboost", 3, skill=0.2, net=0.01, validation=0.01)
    sound = candidate("linear", 3, validation=0.03, **STRONG)
    verdict = judge([loud, sound], seed=0)
    assert verdict.promoted == "linear"
    assert verdict.candidates[0].passed and not verdict.candidates[0].promoted
    assert verdict.candidates[0].reason.startswith("passes, but linear has the better validation skill, +3.00% against +1.00%")


def test_nothing_passes_on_luck_with_both_bounds_at_risk():
    promoted = [judge([candidate(f, s, moments=150, days=40) for f in "ab"], seed=s).promoted for s in range(15)]
    assert promoted == [None] * 15


@pytest.mark.slow
def test_noise_passes_about_as_often_as_nominal_over_200_seeds():
    families = ("linear", "xgboost")
    # No candidate has skill; all have returns so good that the bound of the skill alone decides.
    runs = [judge([candidate(f, s, net=0.02) for f in families], seed=s) for s in range(200)]
    found = sum(v.promoted is not None for v in runs)
    assert stats.binom.ppf(0.001, 200, 0.05) <= found <= stats.binom.ppf(0.999, 200, 0.05)


@pytest.mark.slow
def test_pure_noise_models_that_pay_costs_never_pass_in_200_seeds():
    # A model of noise is worse than the base rate, and its trades lose the spread: nowhere near either bound.
    runs = [judge([candidate("xgboost", s, skill=-0.02, net=-0.001, moments=150, days=40)], seed=s) for s in range(200)]
    assert sum(v.promoted is not None for v in runs) <= 1


def test_more_families_and_more_looks_ask_for_more():
    one = judge([candidate("a", 5)], seed=0)
    four = judge([candidate(f, 5) for f in "abcd"], seed=0)
    looked = judge([candidate("a", 5)], looks=19, seed=0)
    assert (one.comparisons, four.comparisons, looked.comparisons) == (1, 4, 20)
    assert (one.bound_confidence, four.bound_confidence, looked.bound_confidence) == (
        pytest.approx(0.95), pytest.approx(0.9875), pytest.approx(0.9975))  # fmt: skip
    assert one.candidates[0].skill_low > four.candidates[0].skill_low > looked.candidates[0].skill_low


def test_what_passes_at_first_sight_fails_after_many_looks():
    good = candidate("linear", 6, skill=0.02, net=0.0028)
    assert judge([good], seed=0).promoted == "linear"
    assert judge([good], looks=500, seed=0).promoted is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trades": 0}, "no trades"),
        ({"trades": 5}, "only 5 trades"),
        ({"days": 10}, "only 10 trading days"),
        ({"moments": 50}, "only 50 moments"),
    ],
)
def test_a_candidate_with_too_little_to_judge_does_not_pass_and_is_told_so(change, words):
    verdict = judge([candidate("linear", 7, **STRONG, **change)], seed=0)
    assert verdict.promoted is None and words in verdict.candidates[0].reason


def test_five_lucky_trades_do_not_pass():
    daily = np.zeros(90)
    daily[[3, 20, 41, 60, 77]] = 0.02
    assert judge([replace(candidate("linear", 8, **STRONG), daily_net=daily, trades=5)], seed=0).promoted is None


@pytest.mark.parametrize("name", ["loss", "base_loss", "daily_net"])
def test_a_candidate_with_a_number_missing_does_not_pass_and_the_others_are_still_judged(name):
    good, bad = candidate("linear", 9, **STRONG), candidate("xgboost", 9, validation=0.5, **STRONG)
    values = getattr(bad, name).copy()
    values[3] = np.nan
    verdict = judge([good, replace(bad, **{name: values})], seed=0)
    assert verdict.promoted == "linear" and "not a number" in verdict.candidates[1].reason


def test_arrays_that_do_not_match_and_a_skill_that_is_nan_do_not_pass():
    good = candidate("linear", 9, **STRONG)
    for change in ({"loss": good.loss[1:]}, {"validation_skill": math.nan}):
        verdict = judge([replace(good, **change)], seed=0)
        assert verdict.promoted is None and verdict.candidates[0].reason.startswith("cannot be judged")


def test_overlapping_labels_are_not_counted_as_independent():
    # Each loss repeated over 12 moments, as labels of 12 bars would: a twelfth of the information.
    thin = candidate("linear", 10, skill=0.03, net=0.02, moments=100)
    wide = replace(
        thin,
        times_s=3600 * np.arange(1200),
        loss=np.repeat(thin.loss, 12),
        base_loss=np.repeat(thin.base_loss, 12),
        label_moments=12.0,
    )
    low = {name: judge([c], seed=0).candidates[0].skill_low for name, c in (("thin", thin), ("wide", wide))}
    assert low["wide"] == pytest.approx(low["thin"], abs=0.012)


def test_the_verdict_is_the_same_for_the_same_seed_and_in_any_order():
    a, b = candidate("linear", 11, **STRONG), candidate("xgboost", 11, **STRONG)
    first, second = judge([a, b], seed=4), judge([b, a], seed=4)
    assert first.promoted == second.promoted == "xgboost", "equal validation skill: the name decides"
    assert first.candidates == second.candidates[::-1]
    assert judge([a, b], seed=4) == first


def test_inputs_are_untouched():
    c = candidate("linear", 12)
    given = (c.loss, c.base_loss, c.daily_net, c.times_s)
    before = [values.tobytes() for values in given]
    judge([c], seed=0)
    assert [values.tobytes() for values in given] == before


def test_the_verdict_is_one_json_document_with_a_schema_and_no_nan():
    verdict = judge([candidate("linear", 13), candidate("xgboost", 13, trades=0)], seed=1)
    document = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert (document["schema"], document["sample"], document["promoted"]) == (1, "holdout", None)
    assert document["candidates"][1]["skill_low"] is None
    assert all("\n" not in row["reason"] for row in document["candidates"])
    assert document["summary"].startswith("no edge: none of 2 candidates")


def test_no_candidates_promote_nothing():
    assert judge([], seed=0).promoted is None


@pytest.mark.parametrize("change", [{"confidence": 1.0}, {"confidence": 0.1}, {"looks": -1}])
def test_a_gate_that_would_prove_nothing_is_refused(change):
    with pytest.raises(Final, match="gate"):
        judge([candidate("linear", 14)], seed=0, **change)


def test_a_family_that_comes_twice_is_refused():
    with pytest.raises(Final, match="once"):
        judge([candidate("linear", 14)] * 2, seed=0)


@pytest.mark.parametrize(
    ("auc_low", "mode", "label", "alarmed"),
    [
        (0.55, "real", "barrier", True),
        (0.55, "paper", "barrier", True),
        (0.55, "real", "next_bar", False),
        (0.57, "real", "next_bar", True),
        (0.54, "real", "barrier", False),
        (0.90, "simulated", "barrier", False),
        (math.nan, "real", "barrier", False),
    ],
)
def test_a_direction_auc_too_good_for_real_prices_raises_a_leak_alarm(auc_low, mode, label, alarmed):
    line = leak_alarm(auc_low, mode, label=label)
    assert (line is not None) == alarmed
    assert line is None or (line.startswith("leak alarm") and "\n" not in line)


def test_a_leak_alarm_for_an_unknown_mode_or_label_is_refused():
    with pytest.raises(Final, match="mode 'live'"):
        leak_alarm(0.6, "live")
    with pytest.raises(Final, match="label 'sign'"):
        leak_alarm(0.6, "real", label="sign")
