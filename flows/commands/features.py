"""`features`: what there is to learn from, the user's own too; whether it keeps the contracts; a page about it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import feature_store.features as registry
from feature_store.features import Feature, FeatureSet
from flows import console
from flows._errors import FlowError
from flows.quiet import quiet_environment
from flows.settings import load
from tasks import progress
from tasks.home import Home

if TYPE_CHECKING:
    from feature_store.feature_contracts import Outcome

SCHEMA = 1


class Series(TypedDict):
    """Which stored bars were asked for; None where the user left it open."""

    feed: str | None
    symbol: str | None
    timeframe: str | None


def features(
    home: tuple[Path, bool],
    names: Sequence[str],
    *,
    check: bool,
    page: bool,
    pipeline: str | None,
    feed: str | None,
    symbol: str | None,
    timeframe: str | None,
    as_json: bool,
) -> int:
    """List, check or picture the features of these names or groups; gives back the exit status."""
    place = Home(home[0])
    if check and page:
        raise FlowError("--check and --page are two answers; ask for one at a time")
    chosen = _chosen(names, registry.all_features(place.extensions))
    series: Series = {"feed": feed, "symbol": symbol.upper() if symbol else None, "timeframe": timeframe}
    used = None
    if pipeline is not None:
        used = _used(place, pipeline)
        chosen = tuple(f for f in used.features if not names or f.name in {c.name for c in chosen}) if check or page else chosen
        settings = load(place.root).pipeline(pipeline)
        series = {
            "feed": feed or settings.feed,
            "symbol": series["symbol"] or settings.symbols[0],
            "timeframe": timeframe or settings.timeframe,
        }
    with console.watching():
        if check:
            return _check(place, chosen, series, as_json)
        if page:
            return _page(place, chosen, series, as_json)
    return _list(chosen, pipeline, used, as_json)


def _chosen(words: Sequence[str], there: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Features of those names or groups, all for none. Raises `FlowError` naming the nearest for one that is neither."""
    known = {f.name for f in there} | {f.group for f in there}
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, sorted(known), 1)
            raise FlowError(
                f"no feature or group is called {word!r}; {f'did you mean {near[0]}?' if near else 'see tradewind features'}"
            )
    return tuple(f for f in there if not words or f.name in words or f.group in words)


def _used(place: Home, pipeline: str) -> FeatureSet:
    """The set that the pipeline's models see."""
    quiet_environment()
    from tasks.dataset import feature_set_of  # with it comes Prefect, which a mere list does not wait for

    return feature_set_of(load(place.root).pipeline(pipeline), {}, extensions=place.extensions)


# --- list -------------------------------------------------------------------------------------------------------


def _list(chosen: Sequence[Feature], pipeline: str | None, used: FeatureSet | None, as_json: bool) -> int:
    names = None if used is None else used.names
    rows = [_row(f, names) for f in chosen]
    digest = None if used is None else used.hash
    if as_json:
        columns = None if names is None else list(names)
        console.print_json({"schema": SCHEMA, "features": rows, "pipeline": pipeline, "columns": columns, "hash": digest})
        return 0
    console.print_table(
        f"{len(rows)} features" + (f", hash {digest[:16]}" if digest else ""),
        ["group", "name", "lookback", *(["used"] if used else []), "definition", "source"],
        [
            [
                str(r["group"]), str(r["name"]), str(r["reach_bars"]), *(["yes" if r["used"] else "no"] if used else []),
                str(r["meaning"]), "; ".join(part for part in (_written(f), f.source) if part),
            ]
            for r, f in zip(rows, chosen, strict=True)
        ],
        text=("name", "definition", "source"),
    )  # fmt: skip
    return 0


def _written(feature: Feature) -> str:
    return f"your own, {Path(feature.file).name}" if feature.file else ""


def _row(feature: Feature, used: Sequence[str] | None) -> dict[str, Any]:
    return {
        "name": feature.name,
        "group": feature.group,
        "meaning": feature.description,
        "source": feature.source,
        "file": feature.file or None,
        "lookback_bars": feature.lookback_bars,
        "reach_bars": feature.reach_bars,
        "inputs": [i.name for i in feature.inputs],
        "parameters": dict(feature.parameters),
        "scale_free": feature.scale_free,
        "version": feature.version,
        "used": None if used is None else feature.name in used,
    }


# --- check ------------------------------------------------------------------------------------------------------


def _check(place: Home, chosen: Sequence[Feature], series: Series, as_json: bool) -> int:
    from feature_store import feature_ground
    from feature_store.feature_contracts import check
    from feature_store.store import Store

    by_rows: dict[str, list[Feature]] = {}
    for feature in chosen:
        by_rows.setdefault(feature_ground.rows_for(feature), []).append(feature)
    tried = [(feature_ground.generated_ground(of, timeframe), of) for timeframe, of in by_rows.items()]
    store = Store(place.store, lock_wait_s=load(place.root).lock_wait_s)
    tried += [(ground, list(chosen)) for ground in feature_ground.stored_grounds(store, chosen, **series)]
    outcomes: list[list[Outcome]] = []
    for done, (ground, of) in enumerate(tried):
        progress.tell("check", done, len(tried), ground.name)
        outcomes.append(check(of, ground, extensions=place.extensions))
    progress.tell("check", len(tried), len(tried))
    return _show(outcomes, as_json)


def _show(outcomes: Sequence[Sequence[Outcome]], as_json: bool) -> int:
    """Print how the features fared on each ground; gives back 1 where one broke a contract or was judged nowhere."""
    from feature_store.feature_contracts import CONTRACTS, sorted_out

    every = [o for of_ground in outcomes for o in of_ground]
    judged = {o.feature for o in every if not o.not_judged}
    violations, notes = sorted_out(every)
    lines = [v.line() for v in violations]
    lines += [f"{o.feature}: not judged: {o.not_judged}" for o in every if o.feature not in judged]
    if as_json:
        words = [
            {
                "feature": o.feature,
                "ground": o.ground,
                "not_judged": o.not_judged or None,
                "contracts": {c: o.word(c) for c in CONTRACTS},
            }
            for o in every
        ]
        broken = [asdict(v) | {"size": v.size if v.size < float("inf") else None, "line": v.line()} for v in violations]
        console.print_json(
            {
                "schema": SCHEMA,
                "kept": not lines,
                "outcomes": words,
                "violations": broken,
                "lines": lines,
                "notes": [v.line() for v in notes],
            }
        )
        return int(bool(lines))
    for of_ground in outcomes:
        rows = [[o.feature, *(o.word(c) for c in CONTRACTS), o.not_judged] for o in of_ground]
        console.print_table(f"On {of_ground[0].ground} bars", ["feature", *CONTRACTS, ""], rows, text=[*CONTRACTS, ""])
    for note in notes:
        console.say(f"note: {note.line()}; elsewhere it keeps the contract")
    for line in lines or [f"{len(judged)} features keep every contract"]:
        console.say(line)
    return int(bool(lines))


# --- page -------------------------------------------------------------------------------------------------------


def _page(place: Home, chosen: Sequence[Feature], series: Series, as_json: bool) -> int:
    from feature_store import feature_ground
    from feature_store.store import Store
    from tasks.feature_statistics import feature_statistics
    from tasks.features_page import write_features_page

    store = Store(place.store, lock_wait_s=load(place.root).lock_wait_s)
    progress.tell("page", 0, 2, "bars")
    grounds = feature_ground.stored_grounds(store, chosen, **series, rows=None)
    if len(grounds) != 1:
        there = ", ".join(g.name for g in grounds)
        raise FlowError(f"which bars? there is: {there}; add --feed" if grounds else "no bars are stored yet; ingest some first")
    ground = grounds[0]
    fitting = [f.name for f in chosen if not ground.lacks_context(f)]
    if not fitting:
        raise FlowError(f"{ground.name} has no context for any of these features; name others, or ingest the symbols they read")
    progress.tell("page", 1, 2, ground.name)
    found = feature_statistics(ground.features(fitting, extensions=place.extensions), ground)
    path = place.reports / "features" / f"{ground.name.replace(' ', '_')}.html"
    write_features_page(path, found)
    progress.tell("page", 2, 2, ground.name)
    if as_json:
        alike = [{"feature": a, "and": b, "correlation": round(c, 4)} for a, b, c in found.alike()]
        missing = {n: round(float(m), 6) for n, m in zip(found.names, found.missing, strict=True)}
        document = {"schema": SCHEMA, "page": str(path), "series": ground.name, "rows": found.rows, "hash": found.hash}
        console.print_json(document | {"alike": alike, "missing": missing})
        return 0
    console.say(
        f"{len(fitting)} features on {found.rows:,} rows of {ground.name}: {len(found.alike())} pairs correlate beyond 0.95, "
        f"{int((found.missing > 0.01).sum())} features are unknown on more than 1 % of rows"
    )
    console.say(f"page: {path}")
    return 0
