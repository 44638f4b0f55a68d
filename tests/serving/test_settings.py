from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from serving import risk
from serving.decision import BARRIER, RISK, DecisionSpec
from serving.settings import AccountSettings, RiskDay, RiskSettings, tightened

SPEC = DecisionSpec(BARRIER, 0.40, 0.45, 1.5, 1.5, 12, RISK, 0.02, 0.1)


@pytest.mark.parametrize("setting", risk.SETTINGS.values(), ids=lambda s: s.name)
def test_every_setting_of_every_rule_is_a_risk_setting_with_its_range(setting):
    assert getattr(RiskSettings(), setting.name) == setting.default
    assert getattr(RiskSettings(**{setting.name: setting.low}).limits(), setting.name) == setting.low
    for outside in (setting.low - 1.0, setting.high * 2 + 1.0, float("nan")):
        with pytest.raises(ValidationError):
            RiskSettings(**{setting.name: outside})


def test_an_unknown_risk_setting_fails():
    with pytest.raises(ValidationError, match="daily_los"):
        RiskSettings(daily_los=0.01)


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        RiskSettings().positions = 3.0


def test_a_user_may_tighten_what_the_model_decides():
    tight = tightened(SPEC, RiskSettings(threshold=0.42, risk_fraction=0.01, lots=0.05, horizon_bars=6))
    assert tight == SPEC._replace(threshold_long=0.42, risk_fraction=0.01, fixed_lots=0.05, horizon_bars=6)


def test_a_user_can_never_loosen_it():
    assert tightened(SPEC, RiskSettings(threshold=0.0, risk_fraction=1.0, lots=50.0, horizon_bars=500)) == SPEC


def test_live_needs_its_login_and_server():
    with pytest.raises(ValidationError, match="needs login and server"):
        AccountSettings(mode="live", feed="broker")


def test_a_line_is_named_once():
    line = {"pipeline": "p", "symbol": "EURUSD"}
    with pytest.raises(ValidationError, match="twice"):
        AccountSettings(mode="sim", feed="x", lines=[line, line])


@pytest.mark.parametrize("bad", [{"time": "24:00"}, {"time": "7:00"}, {"zone": "Mars/Base"}, {"base": "profit"}])
def test_a_risk_day_that_is_none_fails(bad):
    with pytest.raises(ValidationError):
        RiskDay(**bad)


def test_the_risk_day_turns_at_its_wall_clock_time_across_daylight_saving():
    day = RiskDay(time="17:00", zone="America/New_York")
    # 2024-03-08 (EST) turns at 22:00 UTC, 2024-03-11 (EDT) at 21:00 UTC.
    friday, monday = 1709935200, 1710190800
    ids = day.ids(np.array([friday - 1, friday, monday - 1, monday]))
    assert (np.diff(ids) == [1, 2, 1]).all()
