"""Settings of tasks: what a pipeline is. One table `[pipelines.NAME]` each, and `[mlflow]`."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from feature_store.bars import seconds

FROZEN = ConfigDict(frozen=True, extra="forbid")


class LabelSettings(BaseModel):
    """Both trades of a label: distances in multiples of the decision bar's ATR, horizon in bars."""

    model_config = FROZEN
    stop_atr: float = Field(default=1.5, gt=0.0)
    target_atr: float = Field(default=1.5, gt=0.0)
    horizon_bars: int = Field(default=12, ge=1, le=500)
    atr_bars: int = Field(default=14, ge=2, le=500)


class FoldSettings(BaseModel):
    """How history is cut: walk-forward folds, then a holdout at the end that only the gate looks at."""

    model_config = FROZEN
    count: int = Field(default=3, ge=2, le=20)
    holdout_share: float = Field(default=0.3, gt=0.02, lt=0.6)
    embargo_bars: int = Field(default=12, ge=0)
    early_stop_share: float = Field(default=0.15, gt=0.0, lt=0.5)
    """Last part of each fold's training rows that decides the number of rounds, purged from the rest."""


class BudgetSettings(BaseModel):
    """What tuning may spend for each family: trials, and minutes when given (then a repeat need not be bit-equal)."""

    model_config = FROZEN
    trials: int = Field(default=20, ge=1)
    minutes: float | None = Field(default=None, gt=0.0)
    workers: int = Field(default=0, ge=0)
    """Families tuned side by side; 0 takes one per core, at most the number of families."""


class DecisionSettings(BaseModel):
    """How probabilities become trades. Thresholds are chosen on validation rows, never set here."""

    model_config = FROZEN
    mode: Literal["barrier", "target"] = "barrier"
    sizing: Literal["risk", "lots"] = "risk"
    risk_fraction: float = Field(default=0.01, gt=0.0, le=0.1)
    fixed_lots: float = Field(default=0.1, gt=0.0)


class GateSettings(BaseModel):
    """When a challenger may become champion."""

    model_config = FROZEN
    confidence: float = Field(default=0.95, ge=0.9, lt=1.0)


class PipelineSettings(BaseModel):
    """A named set-up, from feed to gate."""

    model_config = FROZEN
    feed: str
    symbols: tuple[str, ...] = Field(min_length=1)
    timeframe: str = "H1"
    context: tuple[str, ...] | None = None
    """Symbols whose bars stand beside the row's own; by default the pipeline's symbols."""
    window_bars: int = Field(default=4, ge=1, le=512)
    families: tuple[str, ...] = ("all",)
    features: tuple[str, ...] = Field(default=("all",), min_length=1)
    """Names or groups of features; all stands for every one that timeframe and context allow, the user's own too."""
    start: date | None = None
    end: date | None = None
    seed: int = Field(default=1, ge=0)
    account_currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    starting_balance: float = Field(default=10_000.0, gt=0.0)
    label: LabelSettings = LabelSettings()
    folds: FoldSettings = FoldSettings()
    budget: BudgetSettings = BudgetSettings()
    decision: DecisionSettings = DecisionSettings()
    gate: GateSettings = GateSettings()

    @field_validator("timeframe")
    @classmethod
    def _known_timeframe(cls, timeframe: str) -> str:
        seconds(timeframe)
        return timeframe

    @field_validator("symbols", "context")
    @classmethod
    def _upper(cls, symbols: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if symbols is None else tuple(s.upper() for s in symbols)

    @model_validator(mode="after")
    def _ordered(self) -> PipelineSettings:
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"start {self.start} is not before end {self.end}; swap them")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols {', '.join(self.symbols)} name one twice; name each once")
        return self

    @property
    def context_symbols(self) -> tuple[str, ...]:
        """Symbols joined as context, in order of preference as `lead`."""
        chosen = self.symbols if self.context is None else self.context
        return chosen if len(chosen) > 1 or (chosen and chosen[0] not in self.symbols) else ()


class MlflowSettings(BaseModel):
    """Where runs and models are tracked. Empty: a SQLite file in the home."""

    model_config = FROZEN
    tracking_uri: str = ""
