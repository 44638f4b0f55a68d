"""The flows under Prefect: with no server at all, beside one that runs, and on a schedule by a worker."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from flows.interrupt import SAID
from serving.control import journal_path
from serving.journal import read
from tests.flows.parts import ROOT, environment, memory_of_session, run, sim_home, start, trading_home

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="process groups and signals of POSIX")]

PREFECT = Path(sys.executable).with_name("prefect")
TASKS = {"snapshot main", "quality of sim", "tune linear", "fit linear", "judge main", "promote main"}


def wait_for(condition, timeout_s: float = 120.0):
    """What `condition` gives once it is true; fails when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, kindly at first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """A Prefect server on a free port of this machine, with files of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.folder = f"http://127.0.0.1:{port}/api", folder
        self.env = environment(
            PREFECT_HOME=str(folder),
            PREFECT_API_URL=self.url,
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="true",
            TRADEWIND_CHECKOUT=str(ROOT),
        )
        self._processes = [self.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))]
        wait_for(self.answers)

    def start(self, log: str, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        # In a session of its own: a process started from a shell's background would not hear SIGINT.
        with (self.folder / f"{log}.log").open("wb") as file:
            return subprocess.Popen(
                [PREFECT, *arguments], cwd=ROOT, env=self.env | env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip

    def worker(self, home: Path) -> None:
        """A worker of the deployments' pool, stopped before the server."""
        self._processes.insert(
            0, self.start("worker", "worker", "start", "--pool", "tradewind", "--type", "process", TRADEWIND_HOME=str(home))
        )

    def prefect(self, *arguments: str) -> str:
        """stdout of a prefect command that succeeded."""
        done = subprocess.run([PREFECT, *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, what: str, **question: object) -> list[dict]:
        """Rows of the API: flow_runs, task_runs, artifacts, deployments."""
        answer = httpx.post(f"{self.url}/{what}/filter", json=question)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        for process in self._processes:
            stop(process)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("prefect"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def ingested(tmp_path_factory) -> Path:
    """A home with two months of a market with an edge, ready to be retrained."""
    home = sim_home(tmp_path_factory.mktemp("home"), history_days=60, days=67, edge=10.0)
    done = run("ingest", "--feed", "sim", "--home", home)
    assert done.code == 0 and done.err == ""
    return home


def test_retrain_runs_without_a_server_and_leaves_one_document_a_page_and_readable_runs(ingested):
    done = run("retrain", "--families", "linear", "--trials", "1", "--home", ingested, "--json")
    assert done.code == 0 and done.err == ""
    document = done.document
    (row,) = document["rows"]
    assert document["schema"] == 1 and row["family"] == "linear" and row["trials"] == 1 and row["run_id"]
    assert (ingested / "reports" / f"main-{document['run_key']}.html").stat().st_size > 10_000
    # The temporary server kept its books in the home, where nothing of the user's own Prefect is.
    books = sqlite3.connect(next((ingested / "prefect").glob("*.db")))
    assert books.execute("SELECT name, state_type FROM flow_run").fetchall() == [("retrain", "COMPLETED")]
    assert {name for (name,) in books.execute("SELECT name FROM task_run")} == TASKS
    books.close()


def test_beside_a_server_the_same_retrain_shows_its_names_and_its_pages_there(server, ingested):
    done = run(
        "retrain", "--pipeline", "main", "--families", "linear", "--trials", "1", "--home", ingested, "--json", env=server.env
    )
    assert done.code == 0 and done.err == "" and len(done.document["rows"]) == 1
    (flow_run,) = [r for r in server.ask("flow_runs") if r["name"] == "retrain main"]
    assert flow_run["state_type"] == "COMPLETED"
    ours = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    tasks = wait_for(lambda: (found := server.ask("task_runs", **ours)) and len(found) >= len(TASKS) and found)
    assert {task["name"] for task in tasks} == TASKS
    artifacts = {a["key"]: a for a in server.ask("artifacts", **ours)}
    assert set(artifacts) == {"data-quality", "leaderboard", "verdict"}
    assert json.loads(artifacts["leaderboard"]["data"])[0]["family"] == "linear"
    assert "bars" in artifacts["data-quality"]["data"] and "**linear**" in artifacts["verdict"]["data"]


def test_a_scheduled_run_of_a_deployment_appears_and_completes(server, tmp_path):
    home = sim_home(tmp_path / "home", name="main")
    server.prefect("work-pool", "create", "tradewind", "--type", "process")
    server.prefect("deploy", "--all")
    deployments = {d["name"]: d for d in server.ask("deployments")}
    assert set(deployments) == {"hourly", "weekly", "main"}
    assert not any(s["active"] for d in deployments.values() for s in d["schedules"])
    assert {s["schedule"]["timezone"] for d in deployments.values() for s in d["schedules"]} == {"America/New_York"}
    server.worker(home)
    server.prefect("deployment", "schedule", "create", "ingest/hourly", "--interval", "5")

    def scheduled() -> list[dict]:
        runs = server.ask("flow_runs", deployments={"name": {"any_": ["hourly"]}})
        ended = [r for r in runs if r["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]
        assert all(r["state_type"] == "COMPLETED" for r in ended), ended
        return ended

    done = wait_for(scheduled, timeout_s=240)[0]
    assert done["auto_scheduled"] and done["name"] == "ingest main"
    stored = run("data", "--home", home, "--json").document["series"]
    assert [(s["feed"], s["symbol"]) for s in stored] == [("main", "EURUSD")] and stored[0]["rows"] > 30_000


FLOW = "import sys\nfrom pathlib import Path\nfrom flows.trade import trade\n"


def trade_flow(server: Server, call: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FLOW + call], cwd=ROOT, env=server.env, capture_output=True, text=True, timeout=180
    )  # fmt: skip


def test_the_trade_flow_starts_a_trader_and_reports_the_account(server, tmp_path):
    home = trading_home(tmp_path / "home")
    done = trade_flow(server, f"print(trade('demo', home=Path({str(home)!r}), bars=3)['fills'])")
    assert done.returncode == 0, done.stderr
    assert "'deals': " in done.stdout
    (flow_run,) = [r for r in server.ask("flow_runs") if r["name"] == "trade demo"]
    ours = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    tasks = wait_for(lambda: (found := server.ask("task_runs", **ours)) and len(found) >= 2 and found)
    assert {task["name"] for task in tasks} == {"start trader of demo", "report demo"}
    (page,) = server.ask("artifacts", **ours)
    assert page["key"] == "account-demo" and "state **active**" in page["data"]
    log = (home / "accounts" / "demo" / "trader.log").read_text()
    assert json.loads(log.splitlines()[-1])["why"] == "3 bars"


def test_a_trader_that_failed_fails_the_flow_with_the_last_line_it_wrote(server, tmp_path):
    home = sim_home(tmp_path / "home")  # nothing was ever promoted in it
    done = trade_flow(server, f"trade('demo', home=Path({str(home)!r}))")
    last = done.stderr.rstrip().splitlines()[-1]
    assert done.returncode == 1 and "the trader of 'demo' ended with status 3" in last and "has no champion" in last
    assert "another trader" not in done.stderr


def test_the_trader_outlives_the_flow_that_started_it(server, tmp_path):
    home = trading_home(tmp_path / "home", days=200, account="check_every_s = 5.0")
    journal = journal_path(home, "demo")

    def decisions() -> int:
        if not journal.is_file():
            return 0
        reader = read(journal)
        try:
            return len(reader.decisions())
        finally:
            reader.close()

    call = "trade('demo', home=Path(sys.argv[1]), report_every_s=1.0)"
    flow = subprocess.Popen(
        [sys.executable, "-c", FLOW + call, str(home)],
        cwd=ROOT,
        env=server.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert flow.stderr is not None
    line = next(text for raw in flow.stderr if "is process" in (text := raw.decode()))
    trader = int(line.split("is process")[1])
    try:
        wait_for(lambda: decisions() >= 3)
        assert flow.poll() is None and os.getpgid(trader) != os.getpgid(flow.pid)
        flow.kill()
        flow.communicate()
        before = decisions()
        wait_for(lambda: decisions() >= before + 5)
        # A second flow finds the trader at work and leaves it alone.
        again = trade_flow(server, f"print(trade('demo', home=Path({str(home)!r}))['state']['state'])")
        assert again.returncode == 0 and again.stdout == "active\n" and "another trader runs on demo already" in again.stderr
    finally:
        os.kill(trader, signal.SIGTERM)
    wait_for(lambda: "stopped" in (home / "accounts" / "demo" / "trader.log").read_text())


def test_an_interrupted_retrain_ends_at_once_and_leaves_no_server_behind(tmp_path):
    home = sim_home(tmp_path / "home", history_days=60, days=67)
    assert run("ingest", "--feed", "sim", "--home", home).code == 0
    process = start("retrain", "--families", "lightgbm", "--trials", "500", "--home", home, log=tmp_path / "log")
    try:
        wait_for(lambda: list(home.glob("studies/main/*.journal")))
        process.send_signal(signal.SIGINT)  # to it alone; a terminal would send it to the server as well
        assert process.wait(timeout=20) == 130
        assert (tmp_path / "log").read_text() == f"tradewind: {SAID}\n"
        assert memory_of_session(process.pid) == {}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def results_of(home: Path) -> dict[str, dict]:
    """What each family's training left, without what a clock or a tracking server had to say."""
    found = {}
    for path in sorted(home.glob("runs/main/*/*/result.json")):
        document = json.loads(path.read_text())
        found[path.parent.name] = {k: v for k, v in document.items() if k not in ("train_s", "latency_us")}
    return found


def models_of(home: Path) -> dict[str, str]:
    return {path.parent.name: sha256(path.read_bytes()).hexdigest() for path in home.glob("runs/main/*/*/final.onnx")}


def test_a_retrain_killed_midway_goes_on_where_it_stopped_and_ends_like_one_that_was_not(server, tmp_path):
    families = ["--families", "linear,lightgbm", "--trials", "2"]
    homes = {}
    for name in ("whole", "broken"):
        homes[name] = sim_home(tmp_path / name, history_days=60, days=67, edge=10.0)
        settings = homes[name] / "tradewind.toml"
        settings.write_text(settings.read_text().replace("trials = 2 }", "trials = 2, workers = 1 }"))
        assert run("ingest", "--feed", "sim", "--home", homes[name]).code == 0
    whole = run("retrain", *families, "--home", homes["whole"], "--json", env=server.env)
    assert whole.code == 0, whole.err

    process = start("retrain", *families, "--home", homes["broken"], log=tmp_path / "log", env=server.env)
    first = wait_for(lambda: next(homes["broken"].glob("runs/main/*/*/result.json"), None), timeout_s=180)
    process.kill()
    process.wait()
    assert not (homes["broken"] / "champions").exists() and not list(homes["broken"].glob("runs/main/latest.json"))
    finished = {path: path.stat().st_mtime_ns for path in first.parent.iterdir()}

    again = run("retrain", *families, "--home", homes["broken"], "--json", env=server.env)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in first.parent.iterdir()} == finished
    assert models_of(homes["broken"]) == models_of(homes["whole"]) and len(models_of(homes["whole"])) == 2
    assert results_of(homes["broken"]) == results_of(homes["whole"])
    for key in ("run_key", "snapshot", "verdict", "promoted"):
        assert again.document[key] == whole.document[key]
    ledgers = [sqlite3.connect(home / "ledger.sqlite") for home in homes.values()]
    trials = "SELECT study, number, params, skill, state FROM trials ORDER BY study, number"
    one, two = (ledger.execute(trials).fetchall() for ledger in ledgers)
    assert one == two and len(one) == 4
    for ledger in ledgers:
        ledger.close()
