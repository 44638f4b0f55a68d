"""`verify`: measure on made-up cases, with known truth, what the product claims. Each check is one function here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from feature_store._clock_cases import Outcome, outcomes
from feature_store._errors import Final
from flows import console
from flows.quiet import quiet_environment
from tasks import progress

SCHEMA = 1
_SHOWN = 10


def clock(*, cases: int, seed: int, as_json: bool) -> int:
    """0 when no made-up file got a wrong clock, 1 when any did; prints how many were told, refused and wrong."""
    if cases < 1:
        raise Final(f"--cases {cases}: at least 1 case is needed")
    results: Counter[str] = Counter()
    wrong: list[Outcome] = []
    with console.watching():
        for done, outcome in enumerate(outcomes(cases, seed), start=1):
            results[outcome.result] += 1
            if outcome.result == "wrong":
                wrong.append(outcome)
            progress.tell("verify clock", done, cases, f"{len(wrong)} wrong")
    if as_json:
        console.print_json(
            {
                "schema": SCHEMA,
                "cases": cases,
                "seed": seed,
                **{name: results[name] for name in ("correct", "refused", "wrong")},
                "wrong_cases": [{"case": o.case, "said": o.said, "confidence": o.confidence} for o in wrong],
            }
        )
        return 1 if wrong else 0
    rows = [(name, str(results[name]), f"{results[name] / cases:.2%}") for name in ("correct", "refused", "wrong")]
    console.print_table("Clock of made-up files", (f"seed {seed}", "files", "share"), rows)
    for o in wrong[:_SHOWN]:
        console.say(f"wrong: case {o.case}: said {o.said}, confidence {o.confidence:.3f}")
    return 1 if wrong else 0


def gate(*, seeds: int, features: str, as_json: bool) -> int:
    """0 when at most 3 in 20 markets without an edge promote and at least 17 in 20 with the default one; else 1."""
    quiet_environment()
    from feature_store.sources.generator import DEFAULT_EDGE
    from tasks.gate_rate import Outcome as Retrained
    from tasks.gate_rate import outcomes as retrains

    chosen = tuple(name.strip() for name in features.split(",") if name.strip())
    found: dict[float, list[Retrained]] = {0.0: [], DEFAULT_EDGE: []}
    with console.watching():
        for edge, done in found.items():
            for outcome in retrains(edge, range(1, seeds + 1), features=chosen):
                done.append(outcome)
                progress.tell(f"verify gate, edge {edge:g}", len(done), seeds, f"{_promoted(done)} promoted")
    fooled, seen = (_promoted(done) for done in found.values())
    kept = fooled * 20 <= 3 * seeds and seen * 20 >= 17 * seeds
    if as_json:
        rows = [asdict(outcome) for done in found.values() for outcome in done]
        console.print_json({"schema": SCHEMA, "seeds": seeds, "promoted_without_edge": fooled, "promoted_with_edge": seen,
                            "retrains": rows})  # fmt: skip
        return 0 if kept else 1
    for edge, done in found.items():
        console.print_table(
            f"Edge {edge:g}: promoted in {_promoted(done)} of {seeds} markets",
            ("seed", "promoted", "holdout AUC", "holdout skill", "holdout net Sharpe"),
            [(str(o.seed), o.promoted or "-", f"{o.auc:.3f}", f"{o.skill:+.2%}", f"{o.net_sharpe:+.2f}") for o in done],
        )
    return 0 if kept else 1


def _promoted(retrained: Sequence[Any]) -> int:
    return sum(outcome.promoted is not None for outcome in retrained)
