"""What earlier retrains left behind for the next."""

import json
from dataclasses import replace

import pytest

from tasks import record
from tasks._errors import Final
from tasks.home import Home, read_json, write_json


def words(report):
    return json.dumps(report.as_dict(), sort_keys=True)


def test_the_latest_report_is_the_one_saved_last(fresh, report):
    path = record.save_report(fresh.home, report)
    assert path == fresh.job.folder / "report.json" and words(record.latest_report(fresh.home, "demo")) == words(report)
    later = replace(report, run_key="0123456789abcdef", as_of="2024-04-08")
    record.save_report(fresh.home, later)
    assert words(record.latest_report(fresh.home, "demo")) == words(later)
    assert read_json(path)["as_of"] == "2024-04-01", "the earlier one is kept"
    assert record.pipelines(fresh.home) == ["demo"]


def test_a_pipeline_that_was_never_retrained_is_told_with_those_that_were(fresh, report, tmp_path):
    record.save_report(fresh.home, report)
    with pytest.raises(Final, match=r"pipeline 'majors' was never retrained in .*; retrained were: demo"):
        record.latest_report(fresh.home, "majors")
    with pytest.raises(Final, match="retrained were: none"):
        record.latest_report(Home(tmp_path / "empty"), "demo")
    assert record.pipelines(Home(tmp_path / "empty")) == []


def test_tuning_starts_from_the_latest_retrains_best_of_the_same_family(fresh, report):
    assert record.warm_start(fresh.home, "demo", "linear") is None, "no retrain was finished yet"
    record.save_report(fresh.home, report)
    drawn = read_json(fresh.job.folder / "linear" / "tuned.json")["drawn"]
    assert record.warm_start(fresh.home, "demo", "linear") == drawn
    assert record.warm_start(fresh.home, "demo", "xgboost") is None
    assert record.warm_start(fresh.home, "other", "linear") is None


def test_a_newer_report_is_refused(fresh, report):
    record.save_report(fresh.home, report)
    path = fresh.job.folder / "report.json"
    write_json(path, {**read_json(path), "schema": 99})
    with pytest.raises(Final, match="schema 99 is newer"):
        record.latest_report(fresh.home, "demo")


def test_versions_and_the_hash_of_what_is_installed_do_not_change_within_a_process():
    assert record.lock_hash() == record.lock_hash()
    assert len(record.lock_hash()) == 16 and int(record.lock_hash(), 16) >= 0
    assert record.versions() == record.versions() and {"onnx", "optuna", "numpy"} <= set(record.versions())
