"""`verify`: measure on made-up cases, with known truth, what the product claims. Each check is one function here."""

from __future__ import annotations

from collections import Counter

from feature_store._clock_cases import Outcome, outcomes
from feature_store._errors import Final
from flows import console
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
