"""Homes for tests of commands and flows, and how a command is called in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.settings import load
from flows.terminals import market_of
from tasks.home import Home
from tasks.record import save_report
from tasks.results import FamilyResult, RetrainReport, Scores
from tests.serving.live_parts import promote_tiny

ROOT = Path(__file__).resolve().parents[2]
SUB_COMMANDS = (
    "demo", "ingest", "data", "feeds", "export", "features", "retrain", "leaderboard", "backtest", "trade", "status", "why",
    "halt", "reduce", "resume", "flatten", "config", "doctor",
)  # fmt: skip

# A generated week, played after a month of history, and an account that trades it.
SIM = """settings_version = 1

[feeds.sim]
source = "generator"
clock = "ny+7"
commission_per_lot = 3.5
symbols = { %(names)s }

[feeds.sim.market]
start = 2024-01-01
history_days = %(history_days)d
days = %(days)d
seed = 3
edge = %(edge)s

[pipelines.main]
feed = "sim"
symbols = [ %(symbols)s ]
timeframe = "M15"
folds = { count = 2 }
budget = { trials = 2 }

[accounts.demo]
mode = "sim"
feed = "sim"
%(account)s
lines = [ %(lines)s ]
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; fails when there is anything else."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """JSON lines on stdout; fails when one of them is anything else."""
        return [json.loads(line) for line in self.out.splitlines()]


def sim_home(
    home: Path,
    *,
    symbols: tuple[str, ...] = ("EURUSD",),
    history_days: int = 31,
    days: int = 38,
    edge: float = 0.0,
    pipeline: str = "majors",
    account: str = "check_every_s = 15.0",
    extra: str = "",
    name: str = "",
) -> Path:
    """A home whose account `demo` trades `pipeline` on the generated feed `sim`; nothing is promoted yet.

    name: what feed and account are called instead.
    """
    home.mkdir(parents=True, exist_ok=True)
    text = SIM % {
        "names": ", ".join(f'{s} = "{s}m"' for s in symbols),
        "symbols": ", ".join(f'"{s}"' for s in symbols),
        "lines": ", ".join(f'{{ pipeline = "{pipeline}", symbol = "{s}" }}' for s in symbols),
        "history_days": history_days,
        "days": days,
        "edge": edge,
        "account": account,
    }
    if name:
        text = text.replace("[feeds.sim", f"[feeds.{name}").replace('feed = "sim"', f'feed = "{name}"')
        text = text.replace("[accounts.demo]", f"[accounts.{name}]")
    (home / "tradewind.toml").write_text(text + extra, encoding="utf-8")
    return home


def trading_home(home: Path, **changes: Any) -> Path:
    """A `sim_home` whose account has a champion: the tiny model that follows momentum on M15."""
    model = {name: changes.pop(name) for name in ("gain", "lean", "threshold", "stop_atr", "target_atr") if name in changes}
    symbols = changes.get("symbols", ("EURUSD",))
    sim_home(home, **changes)
    promote_tiny(home, symbols=symbols, **model)
    return home


def generated_csv(home: Path, path: Path, *, until: datetime, symbol: str = "EURUSD") -> Path:
    """History of the home's generated feed as a generic csv in UTC."""
    feed = load(home).feed("sim")
    bars = market_of("sim", feed, tuple(feed.symbols)).bars(symbol).filter(_before(until))
    bars.rename({"spread_points": "spread"}).write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    return path


def _before(until: datetime) -> Any:
    import polars as pl

    return pl.col("time") < until.replace(tzinfo=None)


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command: this one, without settings of its own and with one thread a library."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRADEWIND_", "PREFECT_", "MLFLOW_"))}
    quiet = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2", "PYTHONPATH": str(ROOT)}
    return {**kept, **quiet, **changes}


def run(*arguments: object, cwd: Path = ROOT, timeout_s: float = 300.0, env: dict[str, str] | None = None) -> Done:
    """`tradewind` with these arguments in a process of its own."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    return Done(done.returncode, done.stdout, done.stderr)


def start(*arguments: object, log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`tradewind` with these arguments, running, with its output in `log`."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=env or environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def memory_of_session(session: int) -> dict[int, int]:
    """Resident bytes of each live process of a session, by process id; nothing where there is no /proc."""
    held = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[3]) == session and fields[0] != "Z":
            held[int(stat.parent.name)] = int(fields[21]) * 4096
    return held


def scores(kind: str, **changes: float) -> Scores:
    """Scores of a made-up span."""
    numbers = {name: 0.5 for name in Scores.__dataclass_fields__ if name not in ("kind", "start", "end")}
    whole = {"rows": 900, "direction_rows": 700, "trades": 120}
    return Scores(**{**numbers, **whole, **changes, "kind": kind, "start": "2024-01-02", "end": "2024-01-20"})


def family_result(family: str, **changes: float) -> FamilyResult:
    """What a family's training left behind, made up."""
    return FamilyResult(
        family=family, params={"strength": 0.01}, rounds=None, seed=1, trials=2, pruned=0, train_s=1.5, device="cpu",
        latency_us=11.0, parity=1e-7, fold_auc=[0.5], fold_skill=[0.01], decision={"threshold_long": 0.4}, threshold_rows=900,
        oos=scores("out of sample", **changes), holdout=scores("holdout"), final_onnx=f"{family}/final.onnx", importance={},
        reliability=[], equity=[], mode="simulated", cost_source="assumed",
    )  # fmt: skip


def retrained_home(home: Path, pipeline: str = "main") -> Path:
    """A home whose pipeline was retrained: `linear` with an undefined Sharpe, `xgboost` with the better skill."""
    families = [family_result("linear", skill=0.01, net_sharpe=float("nan")), family_result("xgboost", skill=0.03)]
    candidates = [{"family": f.family, "passed": False, "reason": "skill's lower bound is below 0"} for f in families]
    report = RetrainReport(
        pipeline=pipeline, run_key="abc", snapshot="c0ffee", as_of="2024-01-31", feed="sim", symbols=["EURUSD"], timeframe="M15",
        mode="simulated", cost_source="assumed", families=families, promoted=None, run_ids={"linear": "r1", "xgboost": "r2"},
        verdict={"summary": "no edge: nothing promoted", "candidates": candidates, "alarms": []},
    )  # fmt: skip
    save_report(Home(home), report)
    return home
