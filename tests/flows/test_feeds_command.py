"""`tradewind feeds`: listed, compared, and a broker's symbols mapped into the settings."""

from datetime import UTC, datetime

import pytest

from feature_store.store import Store
from flows.commands import feeds as command
from flows.settings import load
from serving.terminal.simulated import SimulatedConfig, SymbolConfig, install
from tests.conftest import make_bars
from tests.flows.parts import sim_home

AT = datetime(2024, 9, 1, tzinfo=UTC)


def keep(home, feed, symbol="EURUSD"):
    bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 600, step_s=3600)
    Store(home / "bars.duckdb").ingest(feed, symbol, "H1", bars, origin="x", sha256="0" * 64, clock_rule="utc", at=AT)


def test_feeds_are_listed_for_people_and_programs(tradewind, tmp_path):
    home = sim_home(tmp_path / "h")
    keep(home, "files")
    shown = tradewind("feeds", "--home", home)
    assert shown.code == 0
    assert "files: files, server clock utc, 600 bars" in shown.out
    assert "  EURUSD: H1; spreads: 600 spreads of 2024-03" in shown.out
    assert "sim: generator, server clock ny+7, 0 bars; read by main" in shown.out
    assert "  EURUSD (its EURUSDm): no bars yet" in shown.out
    listed = tradewind("feeds", "--home", home, "--json").document
    assert listed["schema"] == 1 and [f["name"] for f in listed["feeds"]] == ["files", "sim"]


def test_two_feeds_are_compared_with_their_spreads_by_hour(tradewind, tmp_path):
    for feed in ("a", "b"):
        keep(tmp_path, feed)
    shown = tradewind("feeds", "compare", "a", "b", "--home", tmp_path)
    assert shown.code == 0, shown.err
    assert "bars: 600 in both, 0 only in a, 0 only in b" in shown.out and "labels: 100.0% equal" in shown.out
    assert "New York hour" in shown.out and " 17 " in shown.out.replace("\n", " ")
    document = tradewind(
        "feeds", "compare", "a", "b", "--symbol", "eurusd", "--timeframe", "H4", "--home", tmp_path, "--json"
    ).document
    (found,) = document["comparisons"]
    assert (found["symbol"], found["timeframe"], found["close_bp_median"]) == ("EURUSD", "H4", 0.0)


def test_a_brokers_symbols_are_proposed_and_only_written_when_confirmed(tradewind, tmp_path):
    home = sim_home(tmp_path / "h", extra="# the end\n")
    file = home / "tradewind.toml"
    # The pipeline reads EURUSD; what the broker calls it is not known yet.
    text = file.read_text(encoding="utf-8").replace('{ EURUSD = "EURUSDm" }', '{ EURUSD = "EURUSDm" } # mine')
    file.write_text(text, encoding="utf-8")
    shown = tradewind("feeds", "map", "sim", "--home", home)
    assert shown.code == 0, shown.err
    assert "EURUSD -> EURUSDm: as it is in the settings" in shown.out and "nothing is written yet" in shown.out
    assert file.read_text(encoding="utf-8") == text
    done = tradewind("feeds", "map", "sim", "--confirm", "--home", home, "--json")
    assert done.document["written"] is True and done.document["proposals"][0]["broker_symbol"] == "EURUSDm"
    assert file.read_text(encoding="utf-8") == text
    assert load(home).feed("sim").symbols == {"EURUSD": "EURUSDm"}


def test_a_confirmed_proposal_stands_in_the_settings_and_one_of_two_meanings_does_not(tradewind, tmp_path, monkeypatch):
    offered = ("EURUSD.r", "GBPUSD", "GBPUSD.r")
    bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 900)
    symbols = tuple(SymbolConfig(name, 5, 100_000.0, name[:3], "USD", name[:3]) for name in offered)
    config = SimulatedConfig(symbols=symbols, market=dict.fromkeys(offered, bars), start=datetime(2024, 3, 4, 10, tzinfo=UTC))
    file = tmp_path / "tradewind.toml"
    file.write_text('settings_version = 1\n[feeds.icm]\nsource = "terminal"  # mine\n', encoding="utf-8")
    with install(config) as handle:
        monkeypatch.setattr(command, "open_terminal", lambda root, feed, settings: (handle.module, handle.clock))
        done = tradewind("feeds", "map", "icm", "--confirm", "--home", tmp_path)
    assert done.code == 0, done.err
    assert "EURUSD -> EURUSD.r: EUR against USD, 100000 in a lot" in done.out
    assert "GBPUSD -> ?: GBPUSD, GBPUSD.r may all be meant" in done.out
    assert f"1 written to [feeds.icm.symbols] of {file}" in done.out
    assert load(tmp_path).feed("icm").symbols == {"EURUSD": "EURUSD.r"} and "# mine" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "a"], "feeds compare a: not known; use feeds | feeds compare A B | feeds map FEED"),
        (["sort"], "feeds sort: not known"),
        (["--confirm"], "--confirm writes what `feeds map FEED` proposes"),
        (["map", "nobody"], "feed 'nobody' is not in tradewind.toml; there is: none"),
        (["compare", "a", "b"], "feed 'a' has no bars; there are: none"),
    ],
)
def test_what_is_not_known_is_one_line(tradewind, tmp_path, words, said):
    done = tradewind("feeds", *words, "--home", tmp_path)
    assert done.code == 1 and said in done.err and len(done.err.splitlines()) == 1


def test_a_feed_of_files_has_no_terminal_to_ask(tradewind, tmp_path):
    (tmp_path / "tradewind.toml").write_text("settings_version = 1\n[feeds.files]\n", encoding="utf-8")
    done = tradewind("feeds", "map", "files", "--home", tmp_path)
    assert done.code == 1 and "is fed from files" in done.err


def test_a_home_without_feeds_says_how_to_begin(tradewind, tmp_path):
    shown = tradewind("feeds", "--home", tmp_path / "none")
    assert shown.code == 0 and "knows no feed yet; try: tradewind ingest" in shown.out and not (tmp_path / "none").exists()
