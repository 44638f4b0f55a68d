"""The judge: numbers go to the gate, looks are remembered, and the report says what fell."""

import json
from dataclasses import fields, replace
from importlib import import_module

import numpy as np
import pytest

from model_zoo.judgment.gate import Candidate
from tasks.ledger import Ledger, Span
from tasks.results import RetrainReport

# `tasks.judge.judge` is the task of the same name.
module = import_module("tasks.judge")


@pytest.fixture
def holdout_s(fresh):
    return module.make_plan(module.open_snapshot(fresh.job.snapshot), fresh.job.pipeline).holdout_span


def with_numbers(fresh, family, *, skill, net, trades=100, seed=0):
    """Overwrite what the gate is handed of a family: 900 moments with that skill, 60 days with that mean return."""
    rng = np.random.default_rng(seed)
    base = np.full(900, np.log(2))
    np.savez(
        fresh.job.folder / family / "holdout.npz",
        times_s=3600 * np.arange(900),
        base_loss=base,
        loss=base * (1 - skill) + rng.normal(0, 0.02, 900),
        daily_net=net + rng.normal(0, 0.002, 60),
    )
    result = fresh.result(family)
    return replace(result, holdout=replace(result.holdout, trades=trades), oos=replace(result.oos, skill=skill))


def test_the_gate_is_handed_numbers_of_the_holdout_and_nothing_about_the_market(fresh, monkeypatch):
    seen = []

    def watched(candidates, **settings):
        seen.append((candidates, settings))
        return judge(candidates, **settings)

    judge = module.gate_judge
    monkeypatch.setattr(module, "gate_judge", watched)
    module.judge.fn(fresh.job, fresh.results)
    ((candidates, settings),) = seen
    assert set(settings) == {"confidence", "looks", "seed"} and all(isinstance(v, int | float) for v in settings.values())
    for candidate, result in zip(candidates, fresh.results, strict=True):
        values = {f.name: getattr(candidate, f.name) for f in fields(Candidate)}
        assert values.pop("family") == result.family
        assert all(isinstance(v, int | float) or (isinstance(v, np.ndarray) and v.dtype.kind in "if") for v in values.values())
        assert candidate.trades == result.holdout.trades and candidate.validation_skill == result.oos.skill
        assert len(candidate.loss) == result.holdout.direction_rows
        assert np.prod(1 + candidate.daily_net) - 1 == pytest.approx(result.holdout.net_return)
        assert 1 - candidate.loss.mean() / candidate.base_loss.mean() == pytest.approx(result.holdout.skill)


def test_a_family_with_skill_and_money_is_promoted_and_its_verdict_stands_in_the_report(fresh):
    good = with_numbers(fresh, "linear", skill=0.05, net=0.003)
    poor = with_numbers(fresh, "lightgbm", skill=-0.01, net=-0.001)
    report = module.judge.fn(fresh.job, [poor, good])
    assert report.promoted == report.verdict["promoted"] == "linear"
    verdicts = {row["family"]: row["verdict"] for row in report.rows()}
    assert verdicts == {"linear": "champion", "lightgbm": "no edge"}
    assert [row["family"] for row in report.rows()] == ["linear", "lightgbm"], "best out-of-sample skill first"
    assert report.verdict["sample"] == "holdout" and report.verdict["comparisons"] == 2


@pytest.mark.parametrize(("skill", "net", "trades"), [(0.05, -0.002, 100), (-0.02, 0.003, 100), (0.05, 0.003, 0)])
def test_skill_without_money_or_money_without_skill_or_without_trades_promotes_nothing(fresh, skill, net, trades):
    results = [with_numbers(fresh, f, skill=skill, net=net, trades=trades) for f in ("linear", "lightgbm")]
    report = module.judge.fn(fresh.job, results)
    assert report.promoted is None and report.verdict["summary"].startswith("no edge")
    assert {row["verdict"] for row in report.rows()} == {"no edge"}
    assert all(row["reason"] for row in report.rows())


def test_looks_of_earlier_runs_at_the_same_market_make_the_bound_stricter(fresh, holdout_s):
    ledger = Ledger(fresh.home.ledger)
    alone = module.judge.fn(fresh.job, fresh.results).verdict
    assert (alone["looks"], alone["comparisons"]) == (0, 2)
    assert alone["bound_confidence"] == pytest.approx(1 - 0.05 / 2)
    ledger.look(run="last week", families=["linear", "xgboost"], pipeline="x", span=Span("demo", ("USDJPY",), 0, holdout_s[1]))
    ledger.look(run="elsewhere", families=["linear"], pipeline="x", span=Span("demo", ("GBPUSD",), 0, holdout_s[1]))
    ledger.look(run="before", families=["linear"], pipeline="x", span=Span("demo", ("EURUSD",), 0, holdout_s[0]))
    later = module.judge.fn(fresh.job, fresh.results).verdict
    assert (later["looks"], later["comparisons"]) == (2, 4)
    assert later["bound_confidence"] == pytest.approx(1 - 0.05 / 4)


def test_judging_the_same_run_again_is_not_another_look(fresh):
    reports = [module.judge.fn(fresh.job, fresh.results) for _ in range(3)]
    assert json.dumps(reports[0].as_dict()) == json.dumps(reports[1].as_dict()) == json.dumps(reports[2].as_dict())
    other = replace(fresh.job, pipeline=fresh.job.pipeline.model_copy(update={"seed": 2}))
    other.folder.parent.mkdir(parents=True, exist_ok=True)
    other.folder.symlink_to(fresh.job.folder)
    assert module.judge.fn(other, fresh.results).verdict["looks"] == 2


def test_families_judged_one_after_the_other_pay_for_each_other(fresh):
    first, second = fresh.results
    assert module.judge.fn(fresh.job, [first]).verdict["comparisons"] == 1
    assert module.judge.fn(fresh.job, [second]).verdict["comparisons"] == 2


def test_the_report_says_what_was_judged_and_reads_back_the_same(fresh, report):
    assert (report.pipeline, report.run_key, report.snapshot) == ("demo", fresh.job.key, fresh.job.snapshot.name)
    assert (report.feed, report.symbols, report.timeframe, report.as_of) == ("demo", ["EURUSD", "USDJPY"], "H1", "2024-04-01")
    assert (report.mode, report.cost_source, report.run_ids) == ("simulated", "broker", {})
    assert report.verdict["alarms"] == []
    again = RetrainReport.from_dict(json.loads(json.dumps(report.as_dict())))
    assert json.dumps(again.as_dict()) == json.dumps(report.as_dict())


def test_a_direction_auc_too_good_for_a_real_market_raises_an_alarm_that_stands_in_the_verdict(fresh, caplog):
    linear, lightgbm = fresh.results
    leaking = replace(linear, mode="real", oos=replace(linear.oos, auc_low=0.58))
    report = module.judge.fn(fresh.job, [leaking, lightgbm])
    (alarm,) = report.verdict["alarms"]
    assert "0.580, above 0.54" in alarm and alarm in caplog.text
