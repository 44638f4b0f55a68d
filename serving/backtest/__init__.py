"""Backtest: bars and decisions in, trades and equity out. Decisions are `serving.decision`'s own."""

from serving.backtest.engine import BacktestInput, run
from serving.backtest.prepare import LineInput, prepare
from serving.backtest.result import BacktestResult, Totals

__all__ = ["BacktestInput", "BacktestResult", "LineInput", "Totals", "prepare", "run"]
