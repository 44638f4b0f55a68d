"""What one family's training and judgment left behind: the document every table, page and run is made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Any

from tasks._errors import Final

SCHEMA = 1


@dataclass(frozen=True)
class Scores:
    """Numbers of one span, all computed from the ONNX file. `kind` is out of sample or holdout; intervals are
    block bootstrap, 90 % two-sided. Money is net of spread, commission and swap, in account currency."""

    kind: str
    start: str
    end: str
    rows: int
    direction_rows: int
    auc: float
    auc_low: float
    auc_high: float
    skill: float
    skill_low: float
    skill_high: float
    brier: float
    calibration_error: float
    three_class_skill: float
    macro_auc: float
    net_sharpe: float
    net_sharpe_low: float
    net_sharpe_high: float
    net_return: float
    max_drawdown: float
    turnover: float
    trades: int
    gross: float
    spread_cost: float
    commission: float
    swap: float
    net: float


@dataclass(frozen=True)
class FamilyResult:
    """One family of one retrain. Files are named relative to the run's folder."""

    family: str
    params: dict[str, Any]
    rounds: int | None
    seed: int
    trials: int
    pruned: int
    train_s: float
    device: str
    latency_us: float
    parity: float
    fold_auc: list[float]
    fold_skill: list[float]
    decision: dict[str, float]
    threshold_rows: int
    oos: Scores
    holdout: Scores
    final_onnx: str
    importance: dict[str, float]
    reliability: list[list[float]]
    """[mean predicted q, share of long outcomes, rows] by bin, out of sample."""
    equity: list[list[float]]
    """[UTC epoch s, account equity] by bar over the holdout."""
    mode: str
    cost_source: str
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """The document as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> FamilyResult:
        """Read a document back. Raises `Final` when it is newer than this code."""
        if document.get("schema", 0) > SCHEMA:
            raise Final(
                f"a result of schema {document['schema']} is newer than this Tradewind knows ({SCHEMA}); update Tradewind"
            )
        scores = {name: Scores(**{k: _number(v) for k, v in document[name].items()}) for name in ("oos", "holdout")}
        folds = {name: [_number(v) for v in document[name]] for name in ("fold_auc", "fold_skill")}
        return cls(**{**document, **scores, **folds})


def _number(value: Any) -> Any:
    """A value back from JSON, where an undefined number is null."""
    return float("nan") if value is None else value


@dataclass(frozen=True)
class RetrainReport:
    """One retrain as a whole: what was judged, what fell, what was promoted."""

    pipeline: str
    run_key: str
    snapshot: str
    as_of: str
    feed: str
    symbols: list[str]
    timeframe: str
    mode: str
    cost_source: str
    families: list[FamilyResult]
    verdict: dict[str, Any]
    promoted: str | None
    run_ids: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """The document as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> RetrainReport:
        """Read a document back."""
        if document.get("schema", 0) > SCHEMA:
            raise Final(
                f"a report of schema {document['schema']} is newer than this Tradewind knows ({SCHEMA}); update Tradewind"
            )
        return cls(**{**document, "families": [FamilyResult.from_dict(f) for f in document["families"]]})

    def rows(self) -> list[dict[str, Any]]:
        """The leaderboard, best out-of-sample skill first: one flat row a family."""
        verdicts = {c["family"]: c for c in self.verdict["candidates"]}
        rows = [
            {
                "family": f.family,
                "auc": f.oos.auc,
                "auc_low": f.oos.auc_low,
                "auc_high": f.oos.auc_high,
                "skill": f.oos.skill,
                "skill_low": f.oos.skill_low,
                "skill_high": f.oos.skill_high,
                "brier": f.oos.brier,
                "calibration_error": f.oos.calibration_error,
                "net_sharpe": f.oos.net_sharpe,
                "trades": f.oos.trades,
                "holdout_auc": f.holdout.auc,
                "holdout_skill": f.holdout.skill,
                "holdout_net_sharpe": f.holdout.net_sharpe,
                "latency_us": f.latency_us,
                "train_s": f.train_s,
                "device": f.device,
                "trials": f.trials,
                "run_id": self.run_ids.get(f.family, ""),
                "verdict": "champion" if self.promoted == f.family else ("passed" if verdicts[f.family]["passed"] else "no edge"),
                "reason": verdicts[f.family]["reason"],
                "mode": f.mode,
                "cost_source": f.cost_source,
                "kind": f.oos.kind,
            }
            for f in self.families
        ]
        return sorted(rows, key=lambda r: float("inf") if isnan(r["skill"]) else -r["skill"])
