"""The risk day and the peak of an account, kept in its journal so that a restart knows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from feature_store.clock import Clock
from serving import settings
from serving.journal import DealRow, Journal, RiskDay
from serving.terminal.broker import AccountMoney


class RiskKeeper:
    """Day-start equity and peak equity; every change is journaled before anyone acts on it."""

    def __init__(self, journal: Journal, rule: settings.RiskDay, clock: Clock) -> None:
        self._journal, self._rule, self._clock = journal, rule, clock
        self._minute, self._day = -1, 0
        self.now: RiskDay | None = journal.risk()
        self._first = True

    def day(self) -> int:
        """Number of the risk day now."""
        now_s = int(self._clock.now_utc().timestamp())
        if now_s // 60 != self._minute:  # days begin on whole minutes
            self._minute = now_s // 60
            self._day = int(self._rule.ids(np.array([now_s], dtype=np.int64))[0])
        return self._day

    def update(self, money: AccountMoney) -> RiskDay:
        """The risk day as of this moment."""
        day, base = self.day(), money.balance if self._rule.base == "balance" else money.equity
        was = self.now
        if was is None:
            now = RiskDay(day, base, max(money.equity, base))
        elif day > was.day:
            # The day began while nobody looked: of what it may have begun with, the stricter is taken.
            now = RiskDay(day, max(base, money.balance) if self._first else base, max(was.peak_equity, money.equity))
        else:
            now = replace(was, peak_equity=max(was.peak_equity, money.equity))
        self._first = False
        return self._keep(now)

    def moved(self, deals: Iterable[DealRow]) -> None:
        """Deposits and withdrawals move the day's start and the peak with them: they are neither profit nor loss."""
        paid = sum(d.profit for d in deals if d.kind == "balance")
        if paid and self.now is not None:
            was = self.now
            self._journal.event("money moved", amount=paid)
            self._keep(replace(was, day_start_equity=was.day_start_equity + paid, peak_equity=was.peak_equity + paid))

    def _keep(self, now: RiskDay) -> RiskDay:
        if now != self.now:
            with self._journal.transaction():
                self._journal.set_risk(now)
                if self.now is None or now.day != self.now.day:
                    self._journal.event("risk day", day=now.day, day_start_equity=now.day_start_equity)
            self.now = now
        return now
