"""The trader over the simulated terminal: days of a generated market, faults, a kill at noon."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from serving import control, reports
from serving._errors import Final, Retryable
from serving._trader_config import check_identity
from serving.control import journal_path
from serving.journal import Journal, read
from serving.terminal.broker import Identity, WrongAccount
from serving.terminal.simulated import AccountConfig, Crash, Fault, OtherAccount, Retcode
from serving.trader import StopRequest, TraderConfig, run_trader, stop_on_signals
from tests.serving.live_parts import NOON, generated, playing, promote_tiny, trader_config

ALWAYS_LONG = {"gain": 0.0, "lean": 3.0, "stop_atr": 30.0, "target_atr": 30.0, "horizon_bars": 100}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def handle():
    with playing() as handle:
        yield handle


def trade(home, handle, **changes):
    """(summary, events, journal for reading) of a run."""
    events = []
    stop = changes.pop("stop", None)
    changes.setdefault("check_every_s", 10)
    summary = run_trader(trader_config(home, **changes), handle.module, handle.clock, emit=events.append, stop=stop)
    return summary, events, read(journal_path(home, "demo"))


def at(handle, minutes, action):
    handle.clock.call_at(NOON + timedelta(minutes=minutes), action)


def ours(handle):
    handle.module.initialize()  # the trader has shut its own connection down
    return [p for p in handle.module.positions_get() if p.magic]


def test_every_bar_gets_one_decision_and_every_position_its_stop_at_the_broker(tmp_path, handle):
    promote_tiny(tmp_path)
    summary, events, journal = trade(tmp_path, handle, bars=24)
    rows = journal.decisions()
    assert [r.bar_s for r in reversed(rows)] == [int(NOON.timestamp()) + 900 * i for i in range(24)]
    assert summary.bars == summary.decisions == 24 and summary.orders >= 3 and summary.latency_us > 0
    assert all(r.reason or r.action.startswith("open") for r in rows), "a bar without an order names the rule that said no"
    assert all(r.p_short + r.p_flat + r.p_long == pytest.approx(1, abs=1e-5) for r in rows)
    requests = [json.loads(r["request"]) for r in journal.rows("SELECT request FROM requests")]
    assert all(r["sl"] > 0 and r["tp"] > 0 for r in requests if "position" not in r)
    opened = {d.position for d in journal.deals() if d.entry == "in" and d.kind == "trade"}
    closed = {d.position for d in journal.deals() if d.entry == "out"}
    assert closed | set(journal.open_exits()) == opened and set(journal.open_exits()) == {p.ticket for p in ours(handle)}
    json.dumps(events)
    assert {e["schema"] for e in events} == {1} and events[-1]["event"] == "stopped"


def test_stop_and_target_stand_where_the_decision_spec_says(tmp_path, handle):
    promote_tiny(tmp_path, gain=0.0, lean=3.0)
    _, _, journal = trade(tmp_path, handle, bars=1)
    (row,), (deal,) = journal.decisions(), [d for d in journal.deals() if d.kind == "trade"]
    bars = generated().bars("EURUSD").filter(pl.col("time") < datetime(2024, 3, 6, 10, 15))
    own = (
        bars.group_by_dynamic("time", every="15m").agg(pl.col("high").max(), pl.col("low").min(), pl.col("close").last()).tail(15)
    )
    high, low, close = (own[c].to_list() for c in ("high", "low", "close"))
    by_hand = sum(max(high[i], close[i - 1]) - min(low[i], close[i - 1]) for i in range(1, 15)) / 14
    assert row.atr == pytest.approx(by_hand, rel=1e-9)
    (exit_,) = journal.open_exits().values()
    assert exit_.stop == pytest.approx(deal.price - by_hand, abs=2e-5) and exit_.target == pytest.approx(
        deal.price + 1.5 * by_hand, abs=2e-5
    )


def test_a_position_is_closed_at_the_close_of_its_last_bar(tmp_path, handle):
    promote_tiny(tmp_path, **{**ALWAYS_LONG, "horizon_bars": 3})
    _, _, journal = trade(tmp_path, handle, bars=4)
    (opened, closed) = [d for d in journal.deals() if d.kind == "trade"]
    assert (opened.at_ms, closed.at_ms) == tuple(round((NOON.timestamp() + 900 * n) * 1000) for n in (1, 4))
    assert closed.entry == "out"


def test_a_halt_file_stops_opening_and_stays_latched_until_a_person_resumes(tmp_path, handle):
    promote_tiny(tmp_path, gain=0.0, lean=3.0, horizon_bars=1)
    at(handle, 20, lambda: (tmp_path / "HALT").touch())
    at(handle, 50, lambda: (tmp_path / "HALT").unlink())
    at(handle, 80, lambda: control.send(tmp_path, "demo", "resume", by="Ann", reason="seen to", clock=handle.clock))
    _, events, journal = trade(tmp_path, handle, bars=8)
    by_bar = {(r.bar_s - int(NOON.timestamp())) // 900: r for r in journal.decisions()}
    assert by_bar[0].action == "open long" and by_bar[7].action.startswith(("open", "close", "none"))
    assert {by_bar[n].reason for n in (2, 3, 4)} <= {"trading state is halted", "the line holds a position already"}
    assert [e["state"] for e in events if e["event"] == "state"] == ["halted", "active"]
    assert any(r.action == "open long" for n, r in by_bar.items() if n >= 5)


def test_flatten_closes_what_is_ours_and_nothing_else(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    foreign = handle.manual_trade("EURUSD", -1, 0.2)
    at(handle, 22, lambda: control.send(tmp_path, "demo", "flatten", by="Ann", reason="holiday", clock=handle.clock))
    _, _, journal = trade(tmp_path, handle, bars=3)
    handle.module.initialize()
    assert [p.ticket for p in handle.module.positions_get()] == [foreign] and journal.open_exits() == {}
    assert journal.state().state == "halted" and "holiday" in journal.state().reason


def test_reduce_lets_positions_end_and_opens_none(tmp_path, handle):
    promote_tiny(tmp_path, **{**ALWAYS_LONG, "horizon_bars": 2})
    at(handle, 20, lambda: control.send(tmp_path, "demo", "reduce", by="Ann", reason="news", clock=handle.clock))
    _, _, journal = trade(tmp_path, handle, bars=6)
    trades = [d.entry for d in journal.deals() if d.kind == "trade"]
    assert trades == ["in", "out"] and journal.decisions(last=1)[0].reason == "trading state is reducing"


def test_the_daily_loss_closes_everything_between_bars_and_halts(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG, fixed_lots=0.5)
    at(handle, 21, lambda: handle.market.tick("EURUSD", 1.02, 1.0202))
    _, _, journal = trade(tmp_path, handle, bars=3, risk={"daily_loss_fraction": 0.02, "loss_per_trade_fraction": 1.0})
    (closed,) = [d for d in journal.deals() if d.entry == "out"]
    assert NOON + timedelta(minutes=21) <= datetime.fromtimestamp(closed.at_ms / 1000, UTC) < NOON + timedelta(minutes=22)
    assert journal.state().state == "halted" and journal.state().by == "risk" and ours(handle) == []


def test_a_foreign_position_counts_for_the_daily_loss(tmp_path, handle):
    promote_tiny(tmp_path, gain=0.0, lean=0.0)
    handle.manual_trade("EURUSD", 1, 1.0)
    at(handle, 5, lambda: handle.market.tick("EURUSD", 1.02, 1.0202))
    _, _, journal = trade(tmp_path, handle, bars=1, risk={"daily_loss_fraction": 0.02})
    handle.module.initialize()
    assert journal.state().by == "risk" and len(handle.module.positions_get()) == 1


def test_a_deposit_moves_the_day_start_and_is_no_profit(tmp_path, handle):
    promote_tiny(tmp_path, gain=0.0, lean=0.0)
    at(handle, 5, lambda: handle.deposit(5000.0))
    at(handle, 8, lambda: handle.deposit(-2000.0))
    _, _, journal = trade(tmp_path, handle, bars=1)
    assert journal.risk().day_start_equity == journal.risk().peak_equity == 13_000.0


def test_a_terminal_that_is_away_for_minutes_is_waited_for_and_nothing_is_doubled(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    handle.faults.add(Fault(Crash(240.0), at=NOON + timedelta(minutes=17)))
    _, _, journal = trade(tmp_path, handle, bars=4)
    assert len([d for d in journal.deals() if d.kind == "trade"]) == 1 and len(ours(handle)) == 1
    kinds = [e["kind"] for e in journal.events()]
    assert kinds.count("connected") == 2 and "disconnected" in kinds
    assert len(journal.decisions()) == 4, "the bars after it came back are decided as ever"


def test_an_order_of_unknown_fate_counts_as_held_and_is_not_doubled(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    for _ in range(2):
        handle.faults.now(Retcode(10012, done=True))
    _, _, journal = trade(tmp_path, handle, bars=3)
    assert len(ours(handle)) == 1 and [r.action for r in reversed(journal.decisions())] == ["open long", "none", "none"]


def test_another_account_in_the_terminal_halts_and_ends_the_trader(tmp_path):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    with playing(other_accounts=(AccountConfig(login=7, server="Tradewind-Other"),)) as handle:
        handle.faults.add(Fault(OtherAccount(7), at=NOON + timedelta(minutes=10)))
        with pytest.raises(WrongAccount, match="7@Tradewind-Other"):
            trade(tmp_path, handle, bars=3)
    journal = read(journal_path(tmp_path, "demo"))
    assert journal.state().state == "halted" and journal.deals()[-1].kind == "balance"


class LateTerminal:
    """A terminal whose bars of the last minutes have not arrived."""

    def __init__(self, handle, missing_from):
        self._handle, self._missing_from = handle, missing_from

    def __getattr__(self, name):
        return getattr(self._handle.module, name)

    def copy_rates_from_pos(self, *values):
        rates = self._handle.module.copy_rates_from_pos(*values)
        return rates[rates["time"] - 7200 < self._missing_from.timestamp()]


def test_a_late_bar_is_skipped_and_journaled(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    terminal = LateTerminal(handle, NOON + timedelta(minutes=15))
    run_trader(trader_config(tmp_path, bars=3, check_every_s=10), terminal, handle.clock)
    rows = list(reversed(read(journal_path(tmp_path, "demo")).decisions()))
    assert [r.action for r in rows] == ["open long", "none", "none"]
    assert all(r.reason.startswith("late: no bar 10 s after") and r.p_long is None for r in rows[1:])


def test_weekends_have_no_bars_and_so_no_decisions(tmp_path):
    promote_tiny(tmp_path, timeframe="H1")
    with playing(start=datetime(2024, 3, 8, 20, 30, tzinfo=UTC)) as handle:
        _, _, journal = trade(tmp_path, handle, until=datetime(2024, 3, 10, 23, 30, tzinfo=UTC), check_every_s=60)
    hours = [datetime.fromtimestamp(r.bar_s, UTC).strftime("%a %H") for r in reversed(journal.decisions())]
    # Friday ends at 17:00 New York winter time; on Sunday the US has gone over to summer time.
    assert hours == ["Fri 20", "Fri 21", "Sun 21", "Sun 22"]


def test_a_new_champion_takes_over_between_bars_and_positions_keep_their_exits(tmp_path, handle):
    first = promote_tiny(tmp_path, **ALWAYS_LONG)
    second = []
    at(
        handle,
        25,
        lambda: second.append(promote_tiny(tmp_path, **{**ALWAYS_LONG, "lean": 2.9, "stop_atr": 5.0, "horizon_bars": 2})),
    )
    _, events, journal = trade(tmp_path, handle, bars=6)
    used = [r.bundle for r in reversed(journal.decisions())]
    assert used[:2] == [first.sha256] * 2 and set(used[2:]) == {second[0].sha256}
    (exit_,) = journal.open_exits().values()
    assert (exit_.bundle, exit_.horizon_bars) == (first.sha256, 100), "held beyond the new champion's two bars"
    assert [e["bundle"] for e in events if e["event"] == "champion"] == [second[0].sha256]


def test_a_champion_changed_on_disk_is_refused_and_the_old_one_trades_on(tmp_path, handle):
    first = promote_tiny(tmp_path, **ALWAYS_LONG)

    def spoil():
        bad = promote_tiny(tmp_path, **{**ALWAYS_LONG, "lean": 1.0})
        (bad.folder / "model.onnx").write_bytes(b"something else")

    at(handle, 25, spoil)
    _, _, journal = trade(tmp_path, handle, bars=4)
    assert {r.bundle for r in journal.decisions()} == {first.sha256}
    assert [e["kind"] for e in journal.events()].count("champion refused") == 1


def test_a_stop_request_ends_it_cleanly_and_a_second_run_goes_on(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    stop = StopRequest()
    at(handle, 40, stop.ask)
    summary, events, _ = trade(tmp_path, handle, stop=stop)
    assert summary.why == "stopped" and events[-1]["event"] == "stopped" and len(ours(handle)) == 1
    summary, _, journal = trade(tmp_path, handle, bars=2)
    assert len(ours(handle)) == 1 and len([d for d in journal.deals() if d.kind == "trade"]) == 1
    assert len(journal.decisions()) == 4


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_ask_for_a_stop_and_are_given_back_after(name):
    before = signal.getsignal(getattr(signal, name))
    with stop_on_signals(StopRequest()) as stop:
        signal.raise_signal(getattr(signal, name))
        assert stop.asked
    assert signal.getsignal(getattr(signal, name)) is before


def test_a_second_trader_on_the_account_is_refused(tmp_path, handle):
    promote_tiny(tmp_path)
    journal = Journal(journal_path(tmp_path, "demo"), account="demo", clock=handle.clock)
    with pytest.raises(Retryable, match="another trader runs on it"):
        trade(tmp_path, handle, bars=1)
    journal.close()


def test_without_a_champion_it_says_so_in_one_line(tmp_path, handle):
    with pytest.raises(Retryable, match="has no champion"):
        trade(tmp_path, handle, bars=1)


def test_two_lines_share_one_account_and_one_step(tmp_path, handle):
    promote_tiny(tmp_path, gain=0.0, lean=3.0, symbols=("EURUSD", "USDJPY"))
    lines = ({"pipeline": "majors", "symbol": "EURUSD"}, {"pipeline": "majors", "symbol": "USDJPY"})
    _, _, journal = trade(tmp_path, handle, bars=2, lines=lines)
    assert {p.symbol for p in ours(handle)} == {"EURUSD", "USDJPY"}
    assert [r.line for r in journal.decisions(last=2)] == ["majors/EURUSD", "majors/USDJPY"]


LIVE = {"mode": "live", "login": 1_000_001, "server": "Broker-Live"}
FOUND = Identity(1_000_001, "Broker-Live", "Broker Ltd", "USD", 2, 0)


@pytest.mark.parametrize("typed", [None, "1000001", "1000001@Other", "7@Broker-Live"])
def test_a_live_account_is_refused_unless_it_is_named(tmp_path, typed):
    with pytest.raises(Final, match="--live 1000001@Broker-Live"):
        trader_config(tmp_path, live=typed, **LIVE)


def test_a_live_account_takes_champions_only(tmp_path):
    with pytest.raises(Final, match="passed the gate"):
        trader_config(tmp_path, live="1000001@Broker-Live", alias="practice", **LIVE)


def test_confirming_live_on_an_account_that_is_none_is_refused(tmp_path):
    with pytest.raises(Final, match="mode sim"):
        trader_config(tmp_path, live="1@x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"login": 5}, "login"), ({"server": "Else"}, "server"), ({"company": "Else"}, "company"), ({"currency": "EUR"}, "currency"),
     ({"margin_mode": "netting"}, "margin_mode")],
)  # fmt: skip
def test_every_pinned_part_of_the_identity_is_compared(tmp_path, changes, said):
    settings = {**LIVE, **changes}
    config = trader_config(tmp_path, live=f"{settings['login']}@{settings['server']}", **settings)
    with pytest.raises(Final, match=f"demo.*{said} is"):
        check_identity(config, FOUND)


def test_a_sim_account_on_a_real_server_is_refused_and_the_other_way_round(tmp_path):
    with pytest.raises(Final, match="no simulated account"):
        check_identity(trader_config(tmp_path), FOUND)
    practice = trader_config(tmp_path, mode="practice", login=1_000_001, server="Tradewind-Simulated")
    with pytest.raises(Final, match="is a simulated account"):
        check_identity(practice, Identity(1_000_001, "Tradewind-Simulated", "x", "USD", 2, 0))


def test_an_account_without_lines_is_refused(tmp_path):
    with pytest.raises(Final, match="has no lines"):
        trader_config(tmp_path, lines=())


def test_status_and_why_tell_what_happened(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    _, _, journal = trade(tmp_path, handle, bars=3)
    document = reports.status(journal)
    json.dumps(document)
    assert document["schema"] == 1 and document["state"]["state"] == "active" and len(document["positions"]) == 1
    assert document["lines"][0]["reason"] == "the line holds a position already" and document["latency_us"] > 0
    (told,) = reports.why(journal, when=NOON + timedelta(minutes=7))
    json.dumps(told)
    assert told["action"] == "open long" and told["order"]["state"] == "filled" and len(told["order"]["requests"]) == 1
    assert [w["action"] for w in reports.why(journal, last=2)] == ["none", "none"]


RUN = """
import os, sys
from datetime import timedelta
from pathlib import Path
from serving.trader import run_trader
from tests.serving.live_parts import NOON, playing, trader_config
home, minutes = Path(sys.argv[1]), int(sys.argv[2])
handle = playing(autosave=home / "broker.json")
handle.clock.call_at(NOON + timedelta(minutes=minutes), lambda: os._exit(9))
run_trader(trader_config(home, bars=50, check_every_s=10, risk={"loss_per_trade_fraction": 1.0}), handle.module, handle.clock)
"""


def kill_at(home, minutes):
    """Runs a trader in a process of its own that dies at that simulated minute, without any clean-up."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(home), str(minutes)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 9, done.stderr


def losing_side(minutes):
    """The side that loses between the first entry and that minute."""
    bars = generated().bars("EURUSD").filter(pl.col("time") >= NOON.replace(tzinfo=None))["open"]
    return -1.0 if bars[minutes] > bars[15] else 1.0


def test_killed_at_noon_it_knows_the_days_loss_its_positions_and_their_exits(tmp_path):
    side = losing_side(128)
    promote_tiny(tmp_path, gain=0.0, lean=3.0 * side, stop_atr=30.0, target_atr=30.0, horizon_bars=12, fixed_lots=0.5)
    kill_at(tmp_path, 120)
    before = read(journal_path(tmp_path, "demo"))
    day, exits, decisions = before.risk(), before.open_exits(), before.decisions()
    assert len(exits) == 1 and day.day_start_equity == 10_000.0
    resumed = NOON + timedelta(minutes=128)
    with playing(start=resumed, resume_from=tmp_path / "broker.json") as handle:
        (position,) = ours(handle)
        assert position.ticket in exits and handle.module.account_info().equity < 9_990
        _, _, journal = trade(tmp_path, handle, bars=1)
        assert journal.risk() == day, "the day's start and the peak are those of the morning"
        assert journal.open_exits() == exits and [p.ticket for p in ours(handle)] == [position.ticket]
        assert len(journal.decisions()) == len(decisions) + 1
        _, _, journal = trade(tmp_path, handle, until=NOON + timedelta(minutes=200))
        (closed,) = [d for d in journal.deals() if d.entry == "out" and d.position == position.ticket]
    # Entered on the bar of 10:00, so its twelfth bar closes at 13:15.
    assert closed.at_ms == round((NOON + timedelta(minutes=195)).timestamp() * 1000)


def test_a_day_lost_before_the_kill_still_halts_after_it(tmp_path):
    side = losing_side(120)
    promote_tiny(tmp_path, gain=0.0, lean=3.0 * side, stop_atr=30.0, target_atr=30.0, horizon_bars=50, fixed_lots=0.5)
    kill_at(tmp_path, 120)
    with playing(start=NOON + timedelta(minutes=121), resume_from=tmp_path / "broker.json") as handle:
        handle.module.initialize()
        lost = 1 - handle.module.account_info().equity / 10_000
        _, _, journal = trade(tmp_path, handle, bars=1, risk={"daily_loss_fraction": lost * 0.6})
        assert journal.state().state == "halted" and ours(handle) == []


BANNED = ("prefect", "mlflow", "torch", "numba", "duckdb", "optuna", "sklearn", "xgboost", "lightgbm", "catboost", "onnx")
BLOCKED = """
import sys
for name in {banned}:
    sys.modules[name] = None  # importing it raises
import serving.trader, serving.control, serving.reports, serving.bundle, serving.journal
import serving.terminal.simulated
print("fine")
"""


def test_the_live_process_imports_nothing_that_trains_schedules_or_tracks():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.replace("{banned}", repr(set(BANNED)))], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "fine", done.stderr


def test_a_config_is_refused_when_netting_lines_share_a_symbol(tmp_path):
    lines = ({"pipeline": "majors", "symbol": "EURUSD"}, {"pipeline": "other", "symbol": "EURUSD"})
    with pytest.raises(Final, match="netting"):
        trader_config(tmp_path, lines=lines, margin_mode="netting")
    assert isinstance(trader_config(tmp_path, lines=lines), TraderConfig)


class ShortTerminal(LateTerminal):
    """A terminal that gives only ten bars at first, as a cold symbol does, and everything from `missing_from` on."""

    def copy_rates_from_pos(self, *values):
        rates = self._handle.module.copy_rates_from_pos(*values)
        return rates if self._handle.clock.now_utc() >= self._missing_from else rates[-10:]


def test_a_line_whose_history_came_short_is_warmed_up_again(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    terminal = ShortTerminal(handle, NOON + timedelta(minutes=25))
    run_trader(trader_config(tmp_path, bars=4, check_every_s=10), terminal, handle.clock)
    rows = list(reversed(read(journal_path(tmp_path, "demo")).decisions()))
    assert rows[0].p_long is None and rows[0].reason
    assert [r.p_long is not None for r in rows[-2:]] == [True, True] and rows[-2].action == "open long"


def test_a_flatten_given_while_the_terminal_is_away_is_done_when_it_is_back(tmp_path, handle):
    promote_tiny(tmp_path, **ALWAYS_LONG)
    handle.faults.add(Fault(Crash(240.0), at=NOON + timedelta(minutes=17)))
    at(handle, 18, lambda: control.send(tmp_path, "demo", "flatten", by="Ann", reason="enough", clock=handle.clock))
    _, _, journal = trade(tmp_path, handle, bars=3)
    assert ours(handle) == [] and journal.open_exits() == {} and journal.state().state == "halted"
