"""`retrain`, `leaderboard`, `backtest`: what was learned and what it is worth."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flows import console, interrupt
from flows._errors import FlowError
from flows.quiet import quiet_environment
from flows.settings import load, writable
from tasks.results import RetrainReport

SCHEMA = 1


def retrain(
    home: tuple[Path, bool],
    *,
    pipeline: str | None,
    symbols: str | None,
    timeframe: str | None,
    feed: str | None,
    families: str,
    start: datetime | None,
    end: datetime | None,
    budget: str | None,
    trials: int | None,
    as_json: bool,
) -> None:
    """Run the retrain flow, in this process, with or without a Prefect server."""
    root = writable(home[0])
    quiet_environment(root)
    silence_prefect()
    from feature_store.store import Store
    from flows import retrain as flow
    from tasks.dataset import require_bars
    from tasks.home import Home

    minutes = flow.parse_budget(budget)
    # Composed once here so that a wrong flag or an empty store is told before a server starts.
    settings = load(root)
    _, setup = flow.compose(settings, Home(root), pipeline=pipeline, symbols=symbols, timeframe=timeframe, feed=feed,
                            families=families, start=_day(start), end=_day(end), trials=trials, minutes=minutes)  # fmt: skip
    flow.chosen_families(Home(root), setup)
    require_bars(Store(Home(root).store, lock_wait_s=settings.lock_wait_s), setup)
    with interrupt.ends_at_once(), console.watching():
        report: RetrainReport = flow.retrain(
            home=root,
            pipeline=pipeline,
            symbols=symbols,
            timeframe=timeframe,
            feed=feed,
            families=families,
            start=_day(start),
            end=_day(end),
            trials=trials,
            minutes=minutes,
        )
    show(report, as_json)
    if not as_json:
        console.out.print(f"report: {root / 'reports' / f'{report.pipeline}-{report.run_key}.html'}")


def silence_prefect() -> None:
    """Keep Prefect's own lines off the console unless the user asked for them; its UI has them all."""
    import os

    # Its errors too: what fails is told in one line by this command.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def show(report: RetrainReport, as_json: bool) -> None:
    """A retrain's leaderboard and verdict."""
    if as_json:
        console.print_json(document(report))
        return
    n = console.number
    rows = [
        [
            str(r["family"]),
            f"{n(r['auc'], '.3f')} ({n(r['auc_low'], '.3f')}..{n(r['auc_high'], '.3f')})",
            n(r["skill"], "+.2%"),
            n(r["net_sharpe"], "+.2f"),
            n(r["holdout_auc"], ".3f"),
            n(r["holdout_skill"], "+.2%"),
            n(r["holdout_net_sharpe"], "+.2f"),
            n(r["latency_us"], ".0f"),
            n(r["train_s"], ".1f"),
            str(r["trials"]),
            str(r["device"]),
            str(r["verdict"]),
        ]
        for r in report.rows()
    ]
    title = f"{report.pipeline}: {report.mode} market, {report.cost_source} costs; out of sample, then holdout"
    columns = [
        "family",
        "AUC (90 %)",
        "skill",
        "Sharpe",
        "h. AUC",
        "h. skill",
        "h. Sharpe",
        "us/row",
        "train s",
        "trials",
        "device",
        "verdict",
    ]
    console.print_table(title, columns, rows)
    style = "bold green" if report.promoted else "bold yellow"
    console.out.print(str(report.verdict["summary"]), style=style, soft_wrap=True)
    for candidate in report.verdict["candidates"]:
        console.say(f"  {candidate['family']}: {candidate['reason']}")
    for alarm in report.verdict["alarms"]:
        console.out.print(f"[bold red]{alarm}[/]")


def document(report: RetrainReport) -> dict[str, Any]:
    """The leaderboard as JSON: rows, verdict and where it came from. Undefined numbers are null."""
    rows = [{k: None if v != v else v for k, v in row.items()} for row in report.rows()]
    return {
        "schema": SCHEMA,
        "pipeline": report.pipeline,
        "run_key": report.run_key,
        "snapshot": report.snapshot,
        "as_of": report.as_of,
        "feed": report.feed,
        "symbols": report.symbols,
        "timeframe": report.timeframe,
        "mode": report.mode,
        "cost_source": report.cost_source,
        "promoted": report.promoted,
        "verdict": report.verdict,
        "rows": rows,
    }


def pipeline_of(home: Path, pipeline: str | None) -> str:
    """The pipeline named, else the only one that was retrained."""
    from tasks.home import Home
    from tasks.record import pipelines

    if pipeline is not None:
        return pipeline
    there = pipelines(Home(home))
    if len(there) == 1:
        return there[0]
    raise FlowError(f"which pipeline? retrained were: {', '.join(there) or 'none yet'}; add --pipeline NAME")


def leaderboard(home: tuple[Path, bool], *, pipeline: str | None, as_json: bool) -> None:
    """The latest retrain's families side by side."""
    from tasks.home import Home
    from tasks.record import latest_report

    root, _ = home
    show(latest_report(Home(root), pipeline_of(root, pipeline)), as_json)


def backtest(
    home: tuple[Path, bool],
    *,
    pipeline: str | None,
    model: str | None,
    start: datetime | None,
    end: datetime | None,
    as_json: bool,
) -> None:
    """Replay a model over stored bars."""
    quiet_environment(home[0])
    from tasks import backtest as task
    from tasks.home import Home

    root, _ = home
    settings = load(root)
    if start and end and start >= end:
        raise FlowError(f"--start {start:%Y-%m-%d} is not before --end {end:%Y-%m-%d}; swap them")
    name = pipeline_of(root, pipeline)
    span = _utc(start), _utc(end)
    with console.watching():
        result = task.backtest.fn(
            Home(root).root,
            name,
            model,
            span,
            settings.feed,
            lock_wait_s=settings.lock_wait_s,
            start_balance=settings.pipelines[name].starting_balance if name in settings.pipelines else 10_000.0,
        )
    if as_json:
        console.print_json({"schema": SCHEMA, "pipeline": name, **result.as_dict()})
        return
    totals = result.result.totals
    n = console.number
    console.out.print(f"[bold]{result.title}[/]: {result.words}")
    money = [
        ("price moves, mid to mid", totals.gross),
        ("spread", -totals.spread_cost),
        ("commission", -totals.commission),
        ("swap", totals.swap),
        ("net", totals.net),
    ]
    console.print_table(
        f"{totals.trades} trades, {totals.winners} won", ["", result.result.currency], [[k, f"{v:+,.2f}"] for k, v in money]
    )
    console.out.print(
        f"net Sharpe {n(totals.net_sharpe, '+.2f')}, largest drawdown {n(totals.max_drawdown, '.1%')}, "
        f"balance {totals.start_balance:,.2f} to {totals.final_balance:,.2f}, halts {totals.halts}"
    )
