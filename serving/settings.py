"""Settings of accounts: `[accounts.*]` of tradewind.toml, as frozen classes that refuse what they do not know."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator, model_validator

from serving import risk
from serving._decision_types import DecisionSpec

if TYPE_CHECKING:
    from serving.risk import Limits

I64 = npt.NDArray[np.int64]
_CLOCK_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RiskDay(_Settings):
    """When the day of the daily loss begins, and from what it is measured."""

    time: str = "00:00"
    zone: str = "America/New_York"
    base: Literal["equity", "balance"] = "equity"

    @field_validator("time")
    @classmethod
    def _is_time(cls, value: str) -> str:
        if not _CLOCK_TIME.fullmatch(value):
            raise ValueError(f"time {value!r} is not a time of day; write 00:00 to 23:59")
        return value

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"zone {value!r} is not known; use a name such as America/New_York, Europe/Prague or UTC")
        ZoneInfo(value)
        return value

    def ids(self, utc_s: I64) -> I64:
        """A number per moment (UTC epoch s) that is the same within one risk day and grows by one each day."""
        hours, minutes = self.time.split(":")
        local = (
            pl.from_epoch(pl.Series(np.asarray(utc_s, dtype=np.int64)), time_unit="s")
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone(self.zone)
            .dt.replace_time_zone(None)
        )
        wall: I64 = local.dt.epoch("s").to_numpy().astype(np.int64)
        return (wall - (int(hours) * 60 + int(minutes)) * 60) // 86400


class RiskBase(_Settings):
    """What holds whatever rules there are: how far a user may tighten the models' own decisions."""

    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0  # least probability of a side, whatever the model says
    risk_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0  # most of equity at risk before Kelly
    lots: Annotated[float, Field(gt=0.0)] = 1000.0  # most lots where a model asks for fixed ones
    horizon_bars: Annotated[int, Field(gt=0)] = 1_000_000  # longest a position may be held

    def limits(self) -> Limits:
        """The settings of all risk rules, as the decision functions take them."""
        return risk.limits({name: getattr(self, name) for name in risk.SETTINGS})


def _rule_fields() -> dict[str, Any]:
    return {
        setting.name: (
            Annotated[float, Field(ge=setting.low, le=setting.high, description=f"{setting.unit}; {setting.tighter} is tighter")],
            setting.default,
        )
        for setting in risk.SETTINGS.values()
    }


if TYPE_CHECKING:

    class RiskSettings(RiskBase):
        """`[accounts.NAME.risk]`: every setting that a rule in serving/risk declares, and those of `RiskBase`."""

        def __init__(self, **values: float) -> None: ...
else:
    RiskSettings = create_model("RiskSettings", __base__=RiskBase, __module__=__name__, **_rule_fields())


def tightened(spec: DecisionSpec, settings: RiskSettings) -> DecisionSpec:
    """The model's decision spec with the user's settings where these are stricter; they can never loosen it."""
    return spec._replace(
        threshold_long=max(spec.threshold_long, settings.threshold),
        threshold_short=max(spec.threshold_short, settings.threshold),
        risk_fraction=min(spec.risk_fraction, settings.risk_fraction),
        fixed_lots=min(spec.fixed_lots, settings.lots),
        horizon_bars=min(spec.horizon_bars, settings.horizon_bars),
    )


class LineSettings(_Settings):
    """One line: a pipeline's champion on one symbol."""

    pipeline: Annotated[str, Field(min_length=1)]
    symbol: Annotated[str, Field(pattern=r"^[A-Z0-9]{3,12}$")]


class AccountSettings(_Settings):
    """`[accounts.NAME]`: one login at one server, in one mode, with the lines it trades.

    `login`, `server`, `company`, `currency` and `margin_mode` are pinned: the trader compares them with what the
    terminal says. Passwords come from the environment and are not settings.
    """

    mode: Literal["sim", "paper", "practice", "live"]
    feed: Annotated[str, Field(min_length=1)]
    login: int | None = None
    server: str | None = None
    company: str | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    margin_mode: Literal["hedging", "netting"] = "hedging"
    lines: tuple[LineSettings, ...] = ()
    risk: RiskSettings = Field(default_factory=RiskSettings)
    risk_day: RiskDay = RiskDay()
    check_every_s: Annotated[float, Field(gt=0.0, le=60.0)] = 1.0
    start_balance: Annotated[float, Field(gt=0.0)] = 10_000.0  # of the simulated account in sim and paper
    leverage: Annotated[float, Field(ge=1.0)] = 100.0  # likewise

    @model_validator(mode="after")
    def _is_complete(self) -> AccountSettings:
        if self.mode in ("practice", "live") and (self.login is None or not self.server):
            raise ValueError(f"mode {self.mode} needs login and server: they are compared before every order")
        pairs = [(line.pipeline, line.symbol) for line in self.lines]
        twice = {pair for pair in pairs if pairs.count(pair) > 1}
        if twice:
            raise ValueError(f"lines name {' '.join(sorted(twice)[0])} twice; each (pipeline, symbol) is one line")
        return self
