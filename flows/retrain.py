"""The retrain flow: from bars to a verdict, and to a champion if one has earned it."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

from prefect import flow, runtime  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from feature_store.clock import Clock, SystemClock  # noqa: E402
from feature_store.store import Store  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.settings import Settings, explain, home_folder, load  # noqa: E402
from model_zoo._family import family_names  # noqa: E402
from tasks import dataset, ingest, judge, promote, record, report_page, train  # noqa: E402
from tasks._errors import Final  # noqa: E402
from tasks.home import Home  # noqa: E402
from tasks.results import FamilyResult, RetrainReport  # noqa: E402
from tasks.settings import BudgetSettings, PipelineSettings  # noqa: E402


def compose(
    settings: Settings,
    home: Home,
    *,
    pipeline: str | None = None,
    symbols: str | None = None,
    timeframe: str | None = None,
    feed: str | None = None,
    families: str = "",
    start: date | None = None,
    end: date | None = None,
    trials: int | None = None,
    minutes: float | None = None,
) -> tuple[str, PipelineSettings]:
    """(name, settings) of the pipeline to run: one of the file, or one made of symbols; flags win over both."""
    chosen: dict[str, Any]
    if symbols is None:
        name = pipeline or _only(settings)
        chosen = settings.pipeline(name).model_dump()
    else:
        names = tuple(s.strip().upper() for s in symbols.split(",") if s.strip())
        if not names:
            raise FlowError(f"--symbols {symbols!r} names no symbol; write for example --symbols EURUSD,GBPUSD")
        chosen = {"feed": feed or _feed_of(settings, home, names), "symbols": names, "timeframe": timeframe or "H1"}
        name = pipeline or re.sub(r"[^a-z0-9-]+", "-", "-".join((*names, chosen["timeframe"])).lower())
    overrides = {"timeframe": timeframe, "feed": feed, "start": start, "end": end}
    chosen |= {key: value for key, value in overrides.items() if value is not None}
    if families:
        chosen["families"] = tuple(f.strip() for f in families.split(",") if f.strip())
    if trials is not None or minutes is not None:
        budget = BudgetSettings(**chosen.get("budget", {}))
        chosen["budget"] = {
            **budget.model_dump(),
            "trials": trials or (100_000 if minutes is not None else budget.trials),
            "minutes": minutes,
        }
    try:
        return name, PipelineSettings(**chosen)
    except ValidationError as error:
        raise FlowError(f"pipeline {name!r}: {explain(error)}") from None


def _only(settings: Settings) -> str:
    if len(settings.pipelines) == 1:
        return next(iter(settings.pipelines))
    there = ", ".join(sorted(settings.pipelines)) or "none"
    raise FlowError(f"which pipeline? there is: {there}; add --pipeline NAME, or --symbols EURUSD --timeframe H1")


def _feed_of(settings: Settings, home: Home, symbols: tuple[str, ...]) -> str:
    """The one feed whose store holds all these symbols."""
    inventory = Store(home.store, lock_wait_s=settings.lock_wait_s).inventory()
    holding = [f for f, part in inventory.group_by("feed") if set(symbols) <= set(part["symbol"].to_list())]
    feeds = sorted(str(f[0]) for f in holding)
    if len(feeds) == 1:
        return feeds[0]
    if not feeds:
        there = sorted({f"{r['feed']}/{r['symbol']}" for r in inventory.to_dicts()})
        raise FlowError(f"no feed has bars of {', '.join(symbols)}; stored are: {', '.join(there) or 'none'}; ingest them first")
    raise FlowError(f"feeds {', '.join(feeds)} all have {', '.join(symbols)}; add --feed with one of them")


def chosen_families(home: Home, pipeline: PipelineSettings) -> list[str]:
    """Names of the families to train, each checked to exist."""
    there = family_names(home.extensions)
    if pipeline.families == ("all",):
        return there
    unknown = [f for f in pipeline.families if f not in there]
    if unknown:
        raise FlowError(f"family {unknown[0]!r} is not known; there are {', '.join(there)}, or all")
    return list(dict.fromkeys(pipeline.families))


def workers_of(pipeline: PipelineSettings, families: int) -> int:
    """Families trained side by side."""
    return min(families, pipeline.budget.workers or os.cpu_count() or 1)


# Two tasks a family wait in the pool at once: the fit for its tuning.
_POOL: Any = ThreadPoolTaskRunner(max_workers=2 * (os.cpu_count() or 1) + 2)


def _run_name() -> str:
    """What was asked for, as the run is called in Prefect's pages."""
    asked: dict[str, Any] = runtime.flow_run.parameters
    return " ".join(["retrain", *(str(asked[key]) for key in ("pipeline", "symbols", "timeframe") if asked.get(key))])


@flow(name="retrain", flow_run_name=_run_name, task_runner=_POOL)
def retrain(
    home: Path | None = None,
    pipeline: str | None = None,
    symbols: str | None = None,
    timeframe: str | None = None,
    feed: str | None = None,
    families: str = "",
    start: date | None = None,
    end: date | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    until: datetime | None = None,
    clock: Any = None,
) -> RetrainReport:
    """Tune and train every family on purged folds, judge them on the holdout, promote a champion if one earned it.

    A killed retrain started again with the same data and settings goes on where it stopped. until: only bars
    known before it (default: all that are stored).
    """
    now: Clock = clock or SystemClock()
    root, _ = home_folder(home)
    settings = load(root)
    place = Home(root)
    name, setup = compose(
        settings, place, pipeline=pipeline, symbols=symbols, timeframe=timeframe, feed=feed, families=families,
        start=start, end=end, trials=trials, minutes=minutes,
    )  # fmt: skip
    names = chosen_families(place, setup)
    quality = ingest.quality.submit(place.store, setup.feed, setup.symbols, lock_wait_s=settings.lock_wait_s)
    snapshot = dataset.build_snapshot(root, name, setup, settings.feed(setup.feed), lock_wait_s=settings.lock_wait_s, until=until)
    workers = workers_of(setup, len(names))
    as_of = (until or now.now_utc()).astimezone(UTC).strftime("%Y-%m-%d")
    job = train.Job(root, name, setup, snapshot, as_of, threads=max(1, (os.cpu_count() or 1) // workers))
    results = _train(job, names, workers)
    report = judge.judge(job, results)
    report = promote.promote(job, report, settings.mlflow, now)
    record.save_report(place, report)
    report_page.write_page(
        place.reports / f"{name}-{report.run_key}.html", report, quality=[line for q in quality.result() for line in q.lines()]
    )
    return report


def _train(job: train.Job, names: list[str], workers: int) -> list[FamilyResult]:
    """Results of all families, at most `workers` of them at work at once."""
    if not names:
        raise Final("there is no family to train; put one in extensions/ or name --families")
    tuned: list[Any] = []
    fitted: list[Any] = []
    for started, name in enumerate(names):
        if started >= workers:
            fitted[started - workers].wait()
        tuned.append(train.tune_family.submit(job, name))
        fitted.append(train.fit_family.submit(job, name, tuned[-1]))
    for search in tuned:
        search.result()  # raises why a search failed; the fit that waits for it says only that it never began
    return [future.result() for future in fitted]


def parse_budget(text: str | None) -> float | None:
    """Minutes in `90s`, `10m`, `2h`. Raises `FlowError` for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip().lower())
    if not match or float(match.group(1)) == 0.0:
        raise FlowError(f"--budget {text!r} is not a time; write for example 90s, 10m or 2h")
    return float(match.group(1)) * {"s": 1 / 60, "m": 1.0, "h": 60.0}[match.group(2)]
