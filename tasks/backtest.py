"""A backtest of any model over stored bars: features as live, answers of the ONNX file, decisions of `step`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feature_store.atr import atr
from feature_store.bars import epoch_s
from feature_store.clock import from_epoch
from feature_store.features import FeatureSet, FeatureSpec
from feature_store.settings import FeedSettings
from model_zoo._family import Samples
from serving import bundle
from serving.backtest import BacktestResult, LineInput, prepare, run
from serving.manifest import Manifest
from serving.model import OnnxModel
from serving.settings import RiskSettings
from tasks import progress
from tasks._errors import Final
from tasks._step import step
from tasks.costs import CHARGED, in_whole_points
from tasks.dataset import Dataset, load
from tasks.home import Home
from tasks.record import latest_report
from tasks.settings import PipelineSettings
from tasks.train import ask_model


@dataclass(frozen=True)
class Replayed:
    """A backtest and what must stand beside its numbers."""

    title: str
    words: str
    sample: str
    mode: str
    cost_source: str
    result: BacktestResult

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.title,
            "sample": self.sample,
            "mode": self.mode,
            "cost_source": self.cost_source,
            **self.result.summary(),
        }


@step("backtest {pipeline}")
def backtest(
    home_root: Path,
    pipeline: str,
    model: str | None,
    span: tuple[datetime | None, datetime | None],
    feeds: Callable[[str], FeedSettings],
    *,
    lock_wait_s: float,
    start_balance: float = 10_000.0,
) -> Replayed:
    """Replay the champion, a family of the latest retrain, or an ONNX file over stored bars of its own feed.

    span: first and last moment of decisions, None for all bars there are. feeds: settings of a feed by name.
    """
    home = Home(home_root)
    title, onnx = find_model(home, pipeline, model)
    manifest = onnx.manifest
    settings = PipelineSettings(
        feed=manifest.feeds[0],
        symbols=manifest.symbols,
        context=manifest.context or None,
        timeframe=manifest.timeframe,
        window_bars=manifest.window_bars,
        account_currency=manifest.account_currency,
    )
    dataset = load(home, settings, feeds(settings.feed), lock_wait_s=lock_wait_s)
    feature_set = FeatureSet(
        FeatureSpec(
            tuple(n for n in manifest.features if not _is_flag(n, manifest)),
            manifest.timeframe,
            manifest.context,
            manifest.symbols,
        ),
        points={s: r.spec.point for s, r in dataset.rows.items()},
        extensions=home.extensions,
    )
    onnx.require(feature_set.hash)
    lines = []
    for number, symbol in enumerate(manifest.symbols):
        progress.tell("backtest", number, len(manifest.symbols), symbol)
        lines.append(_line(dataset, feature_set, onnx, symbol, span))
    first_s = min(int(line.open_s[0]) for line in lines)
    bars = {s: _from(in_whole_points(r.bars, r.spread, r.spec.point), first_s, span[1]) for s, r in dataset.rows.items()}
    data = prepare(
        bars,
        manifest.timeframe,
        {s: r.spec for s, r in dataset.rows.items()},
        dict.fromkeys(dataset.rows, CHARGED),
        lines,
        feed=settings.feed,
        currency=manifest.account_currency,
        start_balance=start_balance,
        limits=RiskSettings().limits(),
        resume_next_day=True,
    )
    progress.tell("backtest", len(manifest.symbols), len(manifest.symbols))
    sample = "out of sample" if first_s >= learned_until_s(manifest, dataset) else "in sample"
    words = f"{manifest.mode} market, {manifest.cost_source} costs, {sample}"
    return Replayed(title, words, sample, manifest.mode, manifest.cost_source, run(data))


def _is_flag(name: str, manifest: Manifest) -> bool:
    return len(manifest.symbols) > 1 and name in {f"is_{s.lower()}" for s in manifest.symbols}


def find_model(home: Home, pipeline: str, model: str | None) -> tuple[str, OnnxModel]:
    """(what to call it, the stamped model). Raises `Final` naming what there is."""
    if model is None:
        found = bundle.load_current(home.root, pipeline)
        return f"champion of {pipeline}", OnnxModel.load(found.model)
    if model.endswith(".onnx"):
        path = Path(model)
        if not path.is_file():
            raise Final(f"model file {path} does not exist; give a path, or a family of the latest retrain")
        return path.name, OnnxModel.load(path)
    report = latest_report(home, pipeline)
    families = {r.family: r.final_onnx for r in report.families}
    if model not in families:
        raise Final(f"model {model!r} is not in the latest retrain of {pipeline}; there are {', '.join(families)}")
    return f"{pipeline}/{model}", OnnxModel.load(home.run(pipeline, report.run_key) / families[model])


def learned_until_s(manifest: Manifest, dataset: Dataset) -> int:
    """Close (UTC s) of the last bar the model has seen: the outcome of its last training row lies `horizon_bars` behind it."""
    ends = []
    for symbol in manifest.symbols:
        close_s = dataset.rows[symbol].close_s
        last = int(np.searchsorted(close_s, manifest.training_span[1], side="right")) - 1
        ends.append(int(close_s[min(last + int(manifest.label["horizon_bars"]), len(close_s) - 1)]))
    return max(ends)


def _line(
    dataset: Dataset, feature_set: FeatureSet, onnx: OnnxModel, symbol: str, span: tuple[datetime | None, datetime | None]
) -> LineInput:
    manifest, rows = onnx.manifest, dataset.rows[symbol]
    computed = feature_set.compute(dataset.base, symbol)
    bars = rows.bars.head(computed.height)
    close_s = rows.close_s[: computed.height]
    chosen = np.arange(computed.height) >= feature_set.warmup_bars + manifest.window_bars - 1
    if span[0] is not None:
        chosen &= close_s > span[0].timestamp()
    if span[1] is not None:
        chosen &= close_s <= span[1].timestamp()
    asked = np.flatnonzero(chosen)
    if not len(asked):
        there = f"{from_epoch(int(close_s[0])):%Y-%m-%d} to {from_epoch(int(close_s[-1])):%Y-%m-%d}"
        raise Final(
            f"{symbol}: no bar to decide on in that span; stored is {there}, of which {feature_set.warmup_bars} bars warm up"
        )
    features = computed.drop("time").to_numpy().astype(np.float32)
    nothing = np.zeros(len(features), dtype=np.float32)
    samples = Samples(
        features=features,
        rows=asked,
        segment_starts=np.array([0]),
        window_bars=manifest.window_bars,
        label=nothing.astype(np.int8),
        r_long=nothing,
        r_short=nothing,
        weights=nothing,
        next_bar_return=nothing,
    )
    high, low, close = (bars[c].to_numpy() for c in ("high", "low", "close"))
    return LineInput(
        name=symbol,
        symbol=symbol,
        timeframe=manifest.timeframe,
        spec=manifest.decision,
        open_s=epoch_s(bars["time"])[asked],
        probabilities=ask_model(onnx, samples).astype(np.float64),
        atr=atr(high, low, close, int(manifest.label["atr_bars"]))[asked],
    )


def _from(bars: pl.DataFrame, first_s: int, end: datetime | None) -> pl.DataFrame:
    """Bars from the first decision on, up to `end`."""
    opens = epoch_s(bars["time"])
    last = np.inf if end is None else end.timestamp()
    return bars.filter((opens >= first_s) & (opens < last))
