"""Results as documents: undefined numbers, newer schemas, and the order of the leaderboard."""

import json
import math
from dataclasses import replace

import pytest

from tasks._errors import Final
from tasks.home import read_json, write_json
from tasks.results import FamilyResult, RetrainReport


def through_json(tmp_path, document):
    write_json(tmp_path / "x.json", document)
    return read_json(tmp_path / "x.json")


def test_numbers_that_are_not_defined_come_back_as_such(trained, tmp_path):
    nan = float("nan")
    result = trained.result("linear")
    undefined = replace(
        result, oos=replace(result.oos, net_sharpe_low=nan, auc=nan), fold_auc=[0.5, nan], fold_skill=[nan, 0.1], parity=0.0
    )
    found = FamilyResult.from_dict(through_json(tmp_path, undefined.as_dict()))
    assert math.isnan(found.oos.auc) and math.isnan(found.oos.net_sharpe_low) and found.oos.brier == result.oos.brier
    assert found.fold_auc[0] == 0.5 and math.isnan(found.fold_auc[1]) and math.isnan(found.fold_skill[0])
    assert found.holdout == result.holdout


@pytest.mark.parametrize(("kind", "what"), [(FamilyResult, "result"), (RetrainReport, "report")])
def test_a_newer_document_is_refused_in_one_line(report, kind, what):
    document = (report.families[0] if kind is FamilyResult else report).as_dict()
    assert isinstance(document["schema"], int)
    with pytest.raises(Final, match=f"a {what} of schema 9 is newer than this Tradewind knows .*; update Tradewind"):
        kind.from_dict({**document, "schema": 9})


def test_rows_of_the_leaderboard_stand_best_first_with_all_that_is_promised(report):
    rows = report.rows()
    promised = "family auc auc_low auc_high skill net_sharpe latency_us train_s device trials run_id verdict"
    assert all({*promised.split(), "mode", "cost_source", "kind"} <= set(row) for row in rows)
    assert [row["skill"] for row in rows] == sorted((row["skill"] for row in rows), reverse=True)
    assert {row["kind"] for row in rows} == {"out of sample"}
    json.dumps(rows, allow_nan=False)


def test_a_family_whose_skill_is_undefined_stands_last(report):
    first, second = report.families
    broken = replace(first, oos=replace(first.oos, skill=float("nan")))
    for families in ([broken, second], [second, broken]):
        assert [row["family"] for row in replace(report, families=families).rows()][-1] == broken.family
