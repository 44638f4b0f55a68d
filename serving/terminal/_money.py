"""Margin and profit of positions in the account's currency."""

from __future__ import annotations

from typing import NamedTuple

from serving.terminal._config import CFD_LEVERAGE, FOREX, AccountConfig, SymbolConfig
from serving.terminal._market import Market

BUY, SELL = 0, 1


class Exposure(NamedTuple):
    """One open or asked-for holding: side BUY or SELL, lots, and the margin of one lot, account currency."""

    symbol: str
    side: int
    volume: float
    margin_per_lot: float


class Money:
    """The account's arithmetic. Raises `NoQuote` when a conversion rate was never quoted."""

    def __init__(self, account: AccountConfig, market: Market) -> None:
        self._market = market
        self._currency, self._leverage = account.currency, account.leverage
        self._digits = account.currency_digits
        for symbol in market.symbols.values():
            # A missing rate is an error at start, never 1.0 in the middle of a trade.
            market.path(symbol.currency_profit, self._currency)
            market.path(self.margin_currency(symbol), self._currency)

    def round(self, amount: float) -> float:
        """`amount` in whole units of the currency's last digit; never a negative zero."""
        return round(amount, self._digits) + 0.0

    @staticmethod
    def margin_currency(symbol: SymbolConfig) -> str:
        """Currency that the symbol's margin is worked out in before it is converted."""
        return symbol.currency_margin if symbol.calc_mode == FOREX else symbol.currency_profit

    def margin_per_lot(self, symbol: SymbolConfig, side: int, price: float) -> float:
        """Margin of one lot, not rounded. Forex: contract / leverage; CFDs: contract x price, leveraged or not."""
        amount = symbol.contract_size
        if symbol.calc_mode != FOREX:
            amount *= price
        if symbol.calc_mode in (FOREX, CFD_LEVERAGE):
            amount /= self._leverage
        return self._market.convert(amount, self.margin_currency(symbol), self._currency, at_ask=side == BUY)

    def margin(self, exposures: list[Exposure]) -> float:
        """Margin of all holdings: per symbol, what buys and sells match is charged once at the hedged rate."""
        if not exposures:
            return 0.0
        if len(exposures) == 1:
            return self.round(exposures[0].volume * exposures[0].margin_per_lot)
        sides: dict[str, list[float]] = {}
        for symbol, side, volume, per_lot in exposures:
            lots_and_money = sides.setdefault(symbol, [0.0, 0.0, 0.0, 0.0])
            lots_and_money[side] += volume
            lots_and_money[2 + side] += volume * per_lot
        return self.round(sum(self._of_symbol(symbol, *values) for symbol, values in sides.items()))

    def _of_symbol(self, name: str, bought: float, sold: float, buy_money: float, sell_money: float) -> float:
        matched = min(bought, sold)
        larger, money = (bought, buy_money) if bought >= sold else (sold, sell_money)
        if matched == 0.0:
            return money
        symbol = self._market.symbols[name]
        share = 1.0 if symbol.margin_hedged is None else symbol.margin_hedged / symbol.contract_size
        average = (buy_money + sell_money) / (bought + sold)
        return (larger - matched) * money / larger + matched * share * average

    def profit(self, symbol: SymbolConfig, side: int, volume: float, price_open: float, price_close: float) -> float:
        """Profit or loss of a round trip without swap and commission, rounded."""
        move = price_close - price_open if side == BUY else price_open - price_close
        amount = move * symbol.contract_size * volume
        if symbol.currency_profit == self._currency:
            return round(amount, self._digits) + 0.0
        if symbol.currency_base == self._currency:
            return self.round(amount / price_close)  # converted through its own close price
        return self.in_account(amount, symbol)

    def in_account(self, amount: float, symbol: SymbolConfig) -> float:
        """An amount of the symbol's profit currency in the account's, at the side worse for the client, rounded."""
        return self.round(self.exact(amount, symbol))

    def exact(self, amount: float, symbol: SymbolConfig) -> float:
        """As `in_account`, not rounded."""
        return self._market.convert_result(amount, symbol.currency_profit, self._currency)
