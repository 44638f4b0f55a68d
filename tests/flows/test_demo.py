"""The demo: its home, what it says, and both of its ends, each run whole in a process of its own."""

import re
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows import demo, demo_home
from flows._errors import FlowError
from flows.settings import load
from serving.control import journal_path
from serving.journal import read
from tasks.home import Home
from tasks.record import latest_report
from tasks.results import RetrainReport
from tests.flows.parity import both
from tests.flows.parts import ROOT, Done, environment, memory_of_session, retrained_home, run

FAMILIES = {"linear", "xgboost", "lightgbm", "catboost"}
GIB = 2**30


# --- its home


def test_the_home_is_emptied_at_each_start_and_gets_its_settings(tmp_path):
    root = tmp_path / "demo"
    demo_home.prepare_home(root, edge=3.0, seed=5)
    (root / "runs").mkdir()
    (root / "bars.duckdb").write_text("of the last demo")
    demo_home.prepare_home(root, edge=0.0, seed=6)
    assert sorted(path.name for path in root.iterdir()) == ["tradewind-demo", "tradewind.toml"]
    settings = load(root)
    assert (settings.feed("demo").market.seed, settings.feed("demo").market.edge) == (6, 0.0)
    assert settings.pipeline("demo").symbols == demo_home.SYMBOLS
    assert settings.account("demo").mode == "sim" and len(settings.account("demo").lines) == 4


def test_a_folder_that_no_demo_made_is_refused_and_kept(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "letters.txt").write_text("dear")
    with pytest.raises(FlowError, match="was not made by a demo; name another --home"):
        demo_home.prepare_home(tmp_path / "demo", edge=0.0, seed=1)
    assert (tmp_path / "demo" / "letters.txt").read_text() == "dear"


def test_an_empty_folder_will_do(tmp_path):
    demo_home.prepare_home(tmp_path, edge=0.0, seed=1)
    assert (tmp_path / "tradewind.toml").is_file()


# --- what it says, with the flow left out


@pytest.fixture
def ended_without_edge(tmp_path, monkeypatch) -> RetrainReport:
    """The demo flow, left out: it ends at once with a report that promoted nothing."""
    report = latest_report(Home(retrained_home(tmp_path / "made")), "main")
    monkeypatch.setattr(demo, "demo", lambda root: demo.DemoResult(report, None, root / "reports" / "demo.html"))
    return report


def test_without_edge_it_says_so_proudly(tradewind, ended_without_edge, tmp_path):
    done = tradewind("demo", "--no-edge")
    assert done.code == 0
    assert "no edge: nothing promoted, nothing traded" in done.out
    assert f"report: {tmp_path / '.tradewind' / 'demo' / 'reports' / 'demo.html'}" in done.out
    assert load(tmp_path / ".tradewind" / "demo").feed("demo").market.edge == 0.0


def test_it_lives_below_the_home_that_is_named_and_json_says_how_it_ended(tradewind, ended_without_edge, tmp_path):
    done = tradewind("demo", "--home", tmp_path / "mine", "--seed", "7", "--json")
    document = done.document
    assert document["schema"] == 1 and document["account"] is None and document["promoted"] is None
    assert document["page"] == str(tmp_path / "mine" / "demo" / "reports" / "demo.html")
    market = load(tmp_path / "mine" / "demo").feed("demo").market
    assert market.seed == 7 and market.edge > 0.0


# --- whole


class Watched:
    """A demo in a session of its own, with its seconds and the most memory all its processes held together."""

    def __init__(self, home: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "flows.cli", "demo", "--home", str(home), "--json", *arguments]
        env = {k: v for k, v in environment().items() if k not in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.most_bytes, over = 0, threading.Event()

        def look() -> None:
            while not over.wait(0.2):
                self.most_bytes = max(self.most_bytes, sum(memory_of_session(process.pid).values()))

        watcher = threading.Thread(target=look)
        watcher.start()
        out, err = process.communicate(timeout=580)
        over.set()
        watcher.join()
        self.seconds = time.monotonic() - started
        self.done = Done(process.returncode, out, err)


@pytest.fixture
def whole_demo(tmp_path, record_property):
    """Runs a demo to its end in `tmp_path`; its time and memory go into the test report."""

    def play(*arguments: str) -> Done:
        watched = Watched(tmp_path, *arguments)
        record_property("seconds", round(watched.seconds, 1))
        record_property("most_memory_gib", round(watched.most_bytes / GIB, 2))
        print(f"demo {' '.join(arguments)}: {watched.seconds:.0f} s, {watched.most_bytes / GIB:.2f} GiB")
        assert watched.done.code == 0, watched.done.err
        assert watched.most_bytes < 3 * GIB
        return watched.done

    return play


def self_contained(page: Path) -> str:
    """The page's text; fails when it would load anything from anywhere else."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:|#)[^"]*"', text) == []
    return text


@pytest.mark.slow
def test_with_an_edge_the_demo_ends_with_a_champion_that_traded(whole_demo, tmp_path):
    done = whole_demo()
    document, home = done.document, tmp_path / "demo"
    assert "Traceback" not in done.err and "Warning" not in done.err
    assert {row["family"] for row in document["rows"]} == FAMILIES and document["promoted"] in FAMILIES
    assert document["mode"] == "simulated"
    champion = next(row for row in document["rows"] if row["family"] == document["promoted"])
    assert champion["verdict"] == "champion" and champion["auc_low"] > 0.5
    # The account: every cost apart, and they add up to what it gained or lost.
    account = document["account"]
    costs = account["costs"]
    assert account["trades"] > 10 and costs["spread"] < 0.0 and costs["commission"] < 0.0
    assert costs["gross"] + costs["spread"] + costs["commission"] + costs["swap"] == pytest.approx(costs["net"], abs=0.02)
    assert account["latency_ms"] is not None
    page = self_contained(Path(document["page"]))
    assert all(family in page for family in FAMILIES) and "simulated" in page
    # What was made can be looked at with the other commands.
    status = run("status", "--home", home, "--json").document["accounts"][0]
    reader = read(journal_path(home, "demo"))
    held = {position["position"] for position in status["positions"]}
    paid_for_held = sum(d.commission + d.fee + d.swap for d in reader.deals() if d.position in held)
    reader.close()
    assert status["fills"]["net"] == pytest.approx(costs["net"] + paid_for_held, abs=0.02)
    assert account["end_balance"] - account["start_balance"] == pytest.approx(status["fills"]["net"], abs=0.02)
    board = run("leaderboard", "--home", home, "--json").document
    assert board["promoted"] == document["promoted"] and board["rows"] == document["rows"]
    # And live was the backtest of the same champion over the same bars.
    settings = load(home)
    start = settings.feed("demo").market.history_end
    end = start + timedelta(days=26)  # a Saturday within the twenty trading days
    found = both(home, "demo", "demo", start, end)
    inputs = found.inputs()
    assert inputs.height > 1500 and inputs.null_count().sum_horizontal().item() == 0
    for name in ("p_short", "p_flat", "p_long", "atr"):
        assert (inputs[name] - inputs[f"{name}_replayed"]).abs().max() < 1e-6
    matched = found.matched()
    lived = found.live.filter(pl.col("entry_time") < end.replace(tzinfo=None)).height
    assert matched.height >= 0.95 * max(lived, found.replayed.height) > 20
    # Lots are a share of equity, rounded down to 0.01. A bar in which stop and target both lie may end live at the
    # target, in the backtest never: from there on the equities stand apart, and by their ratio the lots, by nothing else.
    ratio, lots, replayed_lots = (matched[n].to_numpy() for n in ("equity", "lots", "lots_replayed"))
    ratio = ratio / matched["equity_replayed"].to_numpy()
    least = np.floor(replayed_lots * ratio * 100 + 1e-6) / 100
    most = np.floor((replayed_lots + 0.01) * ratio * 100 - 1e-6) / 100
    assert ((lots > least - 1e-6) & (lots < most + 1e-6)).mean() > 0.98
    expected = np.minimum(np.abs(ratio - 1) * (replayed_lots + 0.005) / 0.01, 1.0).sum()  # steps that the ratio carries lots over
    assert (np.abs(lots - replayed_lots) > 1e-6).sum() < expected + 3 * np.sqrt(expected) + 3


@pytest.mark.slow
def test_without_an_edge_the_demo_promotes_nothing_and_trades_nothing(whole_demo, tmp_path):
    document, home = whole_demo("--no-edge").document, tmp_path / "demo"
    assert {row["family"] for row in document["rows"]} == FAMILIES
    assert document["promoted"] is None and document["account"] is None
    assert {row["verdict"] for row in document["rows"]} == {"no edge"}
    assert document["verdict"]["summary"].startswith("no edge")
    assert not (home / "champions").exists() and not (home / "accounts").exists()
    assert "no edge" in self_contained(Path(document["page"]))
    refused = run("trade", "--account", "demo", "--home", home)
    assert refused.code == 3 and "it trades only what passes the gate" in refused.err
