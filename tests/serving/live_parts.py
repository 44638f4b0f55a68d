"""Parts for tests of the live side: frozen and generated markets, a terminal of each, a tiny model."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from feature_store.features import FeatureSet, FeatureSpec
from feature_store.sources.generator import Market, MarketConfig, generate
from serving import bundle
from serving.decision import BARRIER, LOTS, DecisionSpec
from serving.journal import Journal
from serving.manifest import KEY, Manifest, ThresholdOrigin
from serving.orders import OrderPolicy, Orders
from serving.settings import AccountSettings
from serving.terminal.broker import Broker, Disconnected
from serving.terminal.simulated import AccountConfig, Handle, SimulatedConfig, SymbolConfig, install
from serving.trader import TraderConfig
from tests.serving.terminal.simulated_fixture import NOON, flat

EURUSD = SymbolConfig("EURUSDm", 5, 100_000, "EUR", "USD", "EUR", commission_per_lot=3.5)
USDJPY = SymbolConfig("USDJPY", 3, 100_000, "USD", "JPY", "USD", commission_per_lot=3.5)
NAMES = {"EURUSD": "EURUSDm", "USDJPY": "USDJPY"}
QUOTES = {"EURUSDm": (1.1, 10), "USDJPY": (150.0, 10)}


@cache
def frozen_market() -> dict[str, pl.DataFrame]:
    start = datetime(2024, 3, 5, 22, tzinfo=UTC)
    return {name: flat(price, spread, start, 3 * 1440) for name, (price, spread) in QUOTES.items()}


def frozen(**changes: Any) -> Handle:
    """A terminal whose two symbols stand still, Wednesday 12:00 server time."""
    values = {"symbols": (EURUSD, USDJPY), "market": frozen_market(), "start": NOON, "account": AccountConfig()}
    return install(SimulatedConfig(**{**values, **changes}))


def broker_of(handle: Handle, **changes: Any) -> Broker:
    """A connected broker adapter over `handle`."""
    values = {"feed": "sim", "clock": handle.clock, "clock_rule": "ny+7", "symbols": NAMES, "commission_per_lot": 3.5}
    broker = Broker(handle.module, **{**values, **changes})
    broker.connect()
    return broker


class Desk:
    """Journal, broker and orders over one simulated terminal; `again` is the same after a restart."""

    def __init__(self, folder: Path, handle: Handle, policy: OrderPolicy | None = None) -> None:
        self.handle, self.folder, self.policy = handle, folder, policy or OrderPolicy()
        self.clock = handle.clock
        self.journal = Journal(folder / "journal.sqlite", account="demo", clock=self.clock)
        self.broker = broker_of(handle)
        self.orders = Orders(self.journal, self.broker, self.clock, self.policy)

    def again(self) -> Desk:
        self.journal.close()
        return Desk(self.folder, self.handle, self.policy)

    def buy(self, lots: float = 0.1, **changes: Any) -> Any:
        values = {
            "line": "majors/EURUSD", "symbol": "EURUSD", "side": 1, "lots": lots, "stop": 1.095, "target": 1.105,
            "bar_s": int(NOON.timestamp()) - 3600, "horizon_bars": 12, "timeframe": "H1", "bundle": "ab", "reason": "signal",
        }  # fmt: skip
        return self.orders.open(**{**values, **changes})

    def close(self, position: Any, reason: str = "time") -> None:
        """One effort to close, with the reconnection that the trader would make."""
        try:
            self.orders.close(position, line="majors/EURUSD", reason=reason)
        except Disconnected:
            self.broker.connect()

    def settle(self, seconds: float = 8.0) -> None:
        """Time passes, with a look at every second, as the trader does."""
        end = self.clock.now_utc() + timedelta(seconds=seconds)
        while self.clock.now_utc() < end:
            self.clock.wait_until(self.clock.now_utc() + timedelta(seconds=1))
            try:
                self.orders.resolve()
                for extra in self.orders.reconcile(self.broker.positions()):
                    self.close(extra, "second fill of one order")
            except Disconnected:
                self.broker.connect()


@cache
def generated(days: int = 40, seed: int = 3) -> Market:
    return generate(MarketConfig(symbols=("EURUSD", "USDJPY"), start=datetime(2024, 2, 1, tzinfo=UTC), days=days, seed=seed))


FEATURES = ("h4_distance_to_mean", "momentum", "normalised_atr")
MODEL_LABEL = {"stop_atr": 1.0, "target_atr": 1.5, "horizon_bars": 4, "atr_bars": 14}


def tiny_model(
    *,
    gain: float = 3.0,
    lean: float = 0.0,
    timeframe: str = "M15",
    threshold: float = 0.4,
    symbols: tuple[str, ...] = ("EURUSD",),
    pipeline: str = "majors",
    own: tuple[str, ...] = (),
    extensions: Path | None = None,
    **decision_changes: Any,
) -> tuple[bytes, dict[str, Any]]:
    """(graph, manifest document) of a model that follows momentum: softmax of (-z, 0, z), z = gain x momentum + lean.

    own: features of the folder `extensions` that it learned from beside ours.
    """
    features = FeatureSet(FeatureSpec(names=(*FEATURES, *own), timeframe=timeframe, symbols=symbols), extensions=extensions)
    size = len(features.names)
    weights = np.zeros((size, 3), dtype=np.float32)
    weights[FEATURES.index("momentum")] = (-gain, 0.0, gain)
    tensors = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([-lean, 0.0, lean], dtype=np.float32), "bias"),
        numpy_helper.from_array(np.array(0.0, dtype=np.float32), "nothing"),
        numpy_helper.from_array(np.array(-1, dtype=np.int64), "last"),
    ]
    nodes = [
        helper.make_node("Gather", ["window", "last"], ["row"], axis=1),
        helper.make_node("IsNaN", ["row"], ["unknown"]),
        helper.make_node("Where", ["unknown", "nothing", "row"], ["known"]),
        helper.make_node("Gemm", ["known", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    window = helper.make_tensor_value_info("window", TensorProto.FLOAT, ["batch", 2, size])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "tiny", [window], [out], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = DecisionSpec(BARRIER, threshold, threshold, 1.0, 1.5, 4, LOTS, 0.01, 0.1)._replace(**decision_changes)
    manifest = Manifest(
        pipeline=pipeline, family="tiny", feeds=("sim",), feature_hash=features.hash, features=features.names, context=(),
        timeframe=timeframe, base_timeframe="M1", window_bars=2, symbols=symbols, label=MODEL_LABEL, decision=spec,
        thresholds=ThresholdOrigin("validation", 100, (0, 1)), training_span=(0, 1), snapshot="none", params={}, seed=1,
        versions={}, account_currency="USD", cost_source="assumed", mode="simulated", rounds=None,
        created="2024-01-01T00:00:00+00:00",
    )  # fmt: skip
    model.metadata_props.add(key=KEY, value=manifest.to_json())
    return model.SerializeToString(), json.loads(manifest.to_json())


def promote_tiny(home: Path, *, gated: bool = True, **changes: Any) -> bundle.Bundle:
    """The tiny model promoted as champion (or, ungated, as practice) of its pipeline."""
    graph, manifest = tiny_model(**changes)
    written = bundle.write_bundle(
        home, manifest["pipeline"], graph, manifest, gated=gated, verdict="test", promoted_at="2024-01-01T00:00:00+00:00",
        promoted_by="test",
    )  # fmt: skip
    bundle.promote(home, manifest["pipeline"], written.sha256, alias="champion" if gated else "practice")
    return written


def playing(start: datetime = NOON, **changes: Any) -> Handle:
    """A terminal that plays the generated market from `start` on."""
    market = generated()
    symbols = tuple(SymbolConfig.from_spec(market.spec(name, "sim")) for name in ("EURUSD", "USDJPY"))
    frames = {name: market.bars(name) for name in ("EURUSD", "USDJPY")}
    resume_from = changes.pop("resume_from", None)
    config = SimulatedConfig(**{"symbols": symbols, "market": frames, "start": start, **changes})
    return install(config, resume_from=resume_from)


def trader_config(home: Path, **changes: Any) -> TraderConfig:
    """A sim account that trades the tiny model on EURUSD."""
    names = {f.name for f in dataclasses.fields(TraderConfig)}
    own = {name: value for name, value in changes.items() if name in names}
    rest = {name: value for name, value in changes.items() if name not in names}
    settings = AccountSettings(**{"mode": "sim", "feed": "sim", "lines": ({"pipeline": "majors", "symbol": "EURUSD"},), **rest})
    return TraderConfig(**{"home": home, "account": "demo", "settings": settings, "clock_rule": "ny+7", **own})
