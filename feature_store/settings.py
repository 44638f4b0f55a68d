"""Settings of feature_store: what a feed is. One table `[feeds.NAME]` each."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from feature_store.clock import check_rule

FROZEN = ConfigDict(frozen=True, extra="forbid")


class MarketSettings(BaseModel):
    """A generated market. `edge` is the net Sharpe a year of trading its true conditional mean.

    The first `history_days` are history that can be ingested; the simulated broker plays the rest.
    """

    model_config = FROZEN
    start: date
    history_days: int = Field(gt=6, le=4000)
    days: int = Field(gt=6, le=4000)
    seed: int = Field(ge=0)
    edge: float = Field(default=0.0, ge=0.0, le=50.0)

    @model_validator(mode="after")
    def _plays_on(self) -> MarketSettings:
        if self.history_days >= self.days:
            raise ValueError(f"history_days {self.history_days} leaves nothing of {self.days} days to play; make days larger")
        return self

    @property
    def start_utc(self) -> datetime:
        """First moment of the market."""
        return datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)

    @property
    def history_end(self) -> datetime:
        """Moment at which history ends and play begins."""
        return self.start_utc + timedelta(days=self.history_days)


class FeedSettings(BaseModel):
    """Where prices come from: one broker's server or one file source."""

    model_config = FROZEN
    source: Literal["files", "terminal", "generator"] = "files"
    clock: str = "utc"
    """Clock of the feed's server: utc, utc+2, eet, cet, ny, ny+7; or several of them, see `clock.check_rule`."""
    symbols: dict[str, str] = {}
    """Our name to the broker's, case and suffix kept: EURUSD = "EURUSDm". Names not listed are the same on both sides."""
    commission_per_lot: float = Field(default=3.5, ge=0.0)
    """Account currency per lot and side, charged where the broker's own is unknown."""
    spreads_from: str = ""
    """Feed whose spread table stands in where this feed's own spreads cannot be believed; empty: usual retail spreads."""
    market: MarketSettings | None = None

    @field_validator("clock")
    @classmethod
    def _known_clock(cls, rule: str) -> str:
        check_rule(rule)
        return rule
