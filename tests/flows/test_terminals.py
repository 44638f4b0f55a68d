"""Which terminal a feed or an account stands for, and a simulated account on bars that came from files."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from feature_store.settings import FeedSettings
from feature_store.store import Store
from flows._errors import FlowError
from flows.settings import load
from flows.terminals import account_broker, account_desk, open_terminal
from serving import bundle
from serving._errors import Retryable
from serving.manifest import from_json, stamp
from tests.flows.parts import generated_csv, sim_home
from tests.serving.live_parts import tiny_model

LEARNED = datetime(2024, 2, 1, tzinfo=UTC)
FILES = """
[accounts.stored]
mode = "sim"
feed = "files"
check_every_s = 30.0
lines = [{ pipeline = "majors", symbol = "EURUSD" }]
"""


def promote_learned_until(home, moment, timeframe="M15", **changes):
    """The tiny model as champion, whose training ended at `moment`."""
    graph, document = tiny_model(gain=1.0, timeframe=timeframe)
    document |= {"training_span": [0, int(moment.timestamp())], **changes}
    path = home / "tiny.onnx"
    path.write_bytes(graph)
    stamp(path, from_json(json.dumps(document)))
    written = bundle.write_bundle(
        home, "majors", path.read_bytes(), document, gated=True, verdict="test", promoted_at="2024-02-01T00:00:00+00:00",
        promoted_by="test",
    )  # fmt: skip
    bundle.promote(home, "majors", written.sha256)


@pytest.fixture
def home(tmp_path, tradewind):
    """A home whose feed `files` has five weeks of EURUSD without any spread, and an account on it."""
    home = sim_home(tmp_path / "home", extra=FILES)
    file = generated_csv(home, tmp_path / "EURUSD_M1.csv", until=datetime(2024, 2, 7, tzinfo=UTC))
    pl.read_csv(file).drop("spread").write_csv(file)
    assert tradewind("ingest", file, "--clock", "utc", "--home", home).code == 0
    return home


def test_an_account_on_a_feed_of_files_trades_what_came_after_its_champion_learned(home, tradewind):
    promote_learned_until(home, LEARNED)
    done = tradewind("trade", "--account", "stored", "--bars", "30", "--home", home, "--json")
    assert done.code == 0, done.err
    decided = [e for e in done.lines if e["event"] == "decision"]
    assert decided[0]["bar_s"] == LEARNED.timestamp() and len(decided) == 30
    entry = next(e for e in done.lines if e["event"] == "fill" and e["kind"] == "trade")
    assert entry["commission"] == pytest.approx(-3.5 * entry["lots"])  # the feed's, as no broker stated one
    # Started again, the same account goes on where it stood.
    again = tradewind("trade", "--account", "stored", "--bars", "1", "--home", home, "--json").lines
    assert next(e for e in again if e["event"] == "decision")["bar_s"] == decided[-1]["bar_s"] + 900


def test_bars_of_an_hour_are_enough_for_an_account_whose_model_asks_for_no_shorter_ones(home, tradewind, tmp_path):
    hours = ["--timeframe", "H1", "--out", tmp_path / "EURUSD_H1.parquet", "--home", home]
    assert tradewind("export", "--symbol", "EURUSD", *hours).code == 0
    other = sim_home(tmp_path / "other", extra=FILES)
    assert tradewind("ingest", tmp_path / "EURUSD_H1.parquet", "--clock", "utc", "--home", other).code == 0
    promote_learned_until(other, LEARNED, "H1", base_timeframe="H1")
    done = tradewind("trade", "--account", "stored", "--bars", "20", "--home", other, "--json")
    assert done.code == 0, done.err
    decided = [e for e in done.lines if e["event"] == "decision"]
    assert decided[0]["bar_s"] == LEARNED.timestamp() and len(decided) == 20
    assert all(e["p_long"] is not None for e in decided) and any(e["event"] == "order" for e in done.lines)


def test_bars_without_a_spread_are_charged_the_high_one_of_their_hour(home):
    promote_learned_until(home, LEARNED)
    settings = load(home)
    table = Store(home / "bars.duckdb").spread_table("files", "EURUSD")
    with account_broker(home, "stored", settings.account("stored"), settings.feed("files"), 1.0) as handle:
        terminal = handle.module
        assert terminal.initialize() and terminal.symbol_select("EURUSD", True)
        handle.clock.wait_until(datetime(2024, 2, 1, 10, 30, tzinfo=UTC))
        tick = terminal.symbol_info_tick("EURUSD")
        silent = table.high_at(pl.Series([int(datetime(2024, 2, 1, 10, 30, tzinfo=UTC).timestamp())]).to_numpy())[0]
        assert silent > 0 and round((tick.ask - tick.bid) * 1e5) == pytest.approx(silent, abs=1.0)


def test_without_bars_after_the_training_there_is_nothing_to_trade_on(home, tradewind):
    promote_learned_until(home, datetime(2024, 2, 6, 23, 0, tzinfo=UTC))
    done = tradewind("trade", "--account", "stored", "--home", home)
    assert done.code == 1 and "ends at 2024-02-06, where the champion stopped learning" in done.err


def test_a_symbol_that_the_feed_lacks_is_named(home, tradewind):
    settings = load(home)
    account = settings.account("stored")
    lines = (account.lines[0].model_copy(update={"symbol": "GBPUSD"}),)
    with pytest.raises(FlowError, match="feed 'files' has no bars of GBPUSD; ingest them first"):
        account_broker(home, "stored", account.model_copy(update={"lines": lines}), settings.feed("files"), 1.0)


def test_without_a_champion_it_may_be_tried_later(home):
    settings = load(home)
    with pytest.raises(Retryable, match="has no champion"):
        account_broker(home, "stored", settings.account("stored"), settings.feed("files"), 1.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (FeedSettings(), "feed 'x' is fed from files; name them"),
        (FeedSettings(source="generator", symbols={"EURUSD": "EURUSD"}), r"no market; add a table \[feeds.x.market\]"),
    ],
)
def test_a_feed_without_a_terminal_says_what_it_lacks(tmp_path, settings, says):
    with pytest.raises(FlowError, match=says):
        open_terminal(tmp_path, "x", settings)


def test_an_account_in_mode_paper_is_refused_by_name(home):
    settings = load(home)
    paper = settings.account("stored").model_copy(update={"mode": "paper"})
    with pytest.raises(FlowError, match="account 'stored' is in mode paper, which this version cannot trade yet"):
        account_desk(home, "stored", paper, settings.feed("files"), 1.0)
