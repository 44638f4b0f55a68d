"""The gate: may one of these candidates be promoted? Numbers in, verdict out.

A candidate passes when the one-sided lower bounds of its direction skill AND of its net return on the holdout
are above 0. Bonferroni over the candidates and the earlier looks at the same holdout: with m comparisons each
bound has the confidence 1 - (1 - confidence) / m. Both bounds must pass, so the pair needs no further share.
Of those that pass, the one with the best validation skill is promoted: choosing by the holdout would spoil it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model_zoo._errors import Final
from model_zoo.judgment import bootstrap

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

SCHEMA = 1
MIN_TRADES = 30
MIN_DAYS = 20
MIN_MOMENTS = 100
"""Below these a resample repeats so few events that its spread says nothing; luck would pass."""

_ALARMS = {"barrier": 0.54, "next_bar": 0.56}
Mode = Literal["simulated", "paper", "real"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """What one family did on the holdout, computed from its ONNX file.

    validation_skill: direction skill on the validation rows of its folds. times_s, loss, base_loss: (m,) decision
    moment, log loss of q and of the training base rate, for the holdout rows whose label is not flat.
    daily_net: (days,) returns after all costs as shares of equity, every trading day in order, idle days as 0.
    label_moments: bars a label may last, so that overlapping labels are not counted as independent.
    """

    family: str
    validation_skill: float
    times_s: I64
    loss: F64
    base_loss: F64
    daily_net: F64
    trades: int
    label_moments: float = 1.0


@dataclass(frozen=True)
class Judged:
    """One candidate's outcome. Bounds are NaN where there was too little to judge. net: mean return a day."""

    family: str
    passed: bool
    promoted: bool
    validation_skill: float
    skill: float
    skill_low: float
    net: float
    net_low: float
    trades: int
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The gate's answer. promoted: a family, or None. confidence: of the whole; bound_confidence: of each bound
    after sharing the chance of an error among `comparisons`."""

    promoted: str | None
    summary: str
    candidates: tuple[Judged, ...]
    confidence: float
    bound_confidence: float
    comparisons: int
    looks: int
    seed: int
    sample: Literal["holdout"] = "holdout"
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """JSON values; what is not a number becomes None."""
        found = asdict(self)
        found["candidates"] = [{k: _json(v) for k, v in row.items()} for row in found["candidates"]]
        return found


def judge(candidates: Sequence[Candidate], *, confidence: float = 0.95, looks: int = 0, seed: int) -> Verdict:
    """The verdict on all families tried in this run.

    looks: earlier looks, by any run, at a holdout that overlaps this one; each counts as another comparison.
    Raises `Final` for a confidence outside [0.5, 1), negative looks or a family that comes twice.
    """
    if not 0.5 <= confidence < 1.0 or looks < 0:
        raise Final(f"gate: confidence {confidence} and {looks} looks; confidence must lie in [0.5, 1) and looks be at least 0")
    families = [c.family for c in candidates]
    if len(set(families)) < len(families):
        raise Final(f"gate: families {', '.join(families)}; each may come once")
    comparisons = max(1, len(candidates) + looks)
    level = 1.0 - (1.0 - confidence) / comparisons
    judged = [_judge_one(c, level, seed) for c in candidates]
    passed = [j for j in judged if j.passed]
    # The name breaks ties, so that the order of the candidates decides nothing.
    best = max(passed, key=lambda j: (j.validation_skill, j.family)) if passed else None
    return Verdict(
        promoted=best.family if best else None,
        summary=_summary(best, len(candidates), level),
        candidates=tuple(_rank(j, best) for j in judged),
        confidence=confidence,
        bound_confidence=level,
        comparisons=comparisons,
        looks=looks,
        seed=seed,
    )


def leak_alarm(auc_low: float, mode: Mode, *, label: Literal["barrier", "next_bar"] = "barrier") -> str | None:
    """Warning when even the low end of a direction AUC is better than honest work on real prices has ever been.

    Our study of real H1: triple barrier 0.49 to 0.53, next-bar sign 0.53 to 0.555. A simulated market may hold
    any edge, so there it is silent.
    """
    if mode not in ("simulated", "paper", "real"):
        raise Final(f"leak alarm: mode {mode!r} is not known; it must be simulated, paper or real")
    if label not in _ALARMS:
        raise Final(f"leak alarm: label {label!r} is not known; it must be {' or '.join(_ALARMS)}")
    limit = _ALARMS[label]
    if mode == "simulated" or not auc_low > limit:
        return None
    what = "triple-barrier" if label == "barrier" else "next-bar"
    return (
        f"leak alarm: the low end of the {what} direction AUC is {auc_low:.3f}, above {limit:.2f}; "
        f"honest models on real prices stay below, so look for the future in features, labels or folds before believing it"
    )


def _judge_one(c: Candidate, level: float, seed: int) -> Judged:
    skill = net = skill_low = net_low = float("nan")
    refusal = _unfit(c)
    if refusal is None:
        skill_draws = bootstrap.ratio_of_means(
            c.base_loss - c.loss, c.base_loss, c.times_s, seed=[seed, 0], least_block=c.label_moments
        )
        net_draws = bootstrap.mean(c.daily_net, np.arange(len(c.daily_net)), seed=[seed, 1])
        skill, skill_low = skill_draws.estimate, skill_draws.lower_bound(level)
        net, net_low = net_draws.estimate, net_draws.lower_bound(level)
        refusal = _not_above_zero(c, skill, skill_low, net, net_low, level)
    return Judged(
        family=c.family,
        passed=refusal is None,
        promoted=False,
        validation_skill=c.validation_skill,
        skill=skill,
        skill_low=skill_low,
        net=net,
        net_low=net_low,
        trades=c.trades,
        reason=refusal or _in_words(skill, skill_low, net, net_low, level),
    )


def _unfit(c: Candidate) -> str | None:
    """Why this candidate cannot be judged at all, or None."""
    moments = len(np.unique(c.times_s))
    numbers = (c.loss, c.base_loss, c.daily_net, np.array([c.validation_skill]))
    if not len(c.times_s) == len(c.loss) == len(c.base_loss):
        return f"cannot be judged: {len(c.times_s)} moments, {len(c.loss)} losses and {len(c.base_loss)} base losses do not match"
    if not all(np.isfinite(values).all() for values in numbers):
        return "cannot be judged: a loss, a return or the validation skill is not a number"
    if c.trades == 0:
        return "made no trades on the holdout: there is no net return to judge"
    if c.trades < MIN_TRADES:
        return f"made only {c.trades} trades on the holdout; at least {MIN_TRADES} are needed to tell skill from luck"
    if len(c.daily_net) < MIN_DAYS:
        return f"the holdout has only {len(c.daily_net)} trading days; at least {MIN_DAYS} are needed"
    if moments < MIN_MOMENTS:
        return f"the holdout has only {moments} moments whose label has a direction; at least {MIN_MOMENTS} are needed"
    return None


def _not_above_zero(c: Candidate, skill: float, skill_low: float, net: float, net_low: float, level: float) -> str | None:
    """Which of the two bounds failed, in words, or None. A bound that is NaN fails."""
    failures = []
    if not skill_low > 0:
        failures.append(f"direction skill on the holdout is {skill:+.2%}, at least {skill_low:+.2%}")
    if not net_low > 0:
        failures.append(f"net return on the holdout is {net:+.4%} a day, at least {net_low:+.4%}")
    if not failures:
        return None
    return f"no edge shown: {' and '.join(failures)} with {level:.2%} confidence, which is not above 0"


def _in_words(skill: float, skill_low: float, net: float, net_low: float, level: float) -> str:
    return (
        f"on the holdout, direction skill {skill:+.2%} (at least {skill_low:+.2%}) and "
        f"net return {net:+.4%} a day (at least {net_low:+.4%}) with {level:.2%} confidence"
    )


def _rank(judged: Judged, best: Judged | None) -> Judged:
    """The same outcome, told beside the best that passed."""
    if best is None or not judged.passed:
        return judged
    if judged.family == best.family:
        return replace(judged, promoted=True, reason=f"promoted: {judged.reason}")
    skills = f"{best.validation_skill:+.2%} against {judged.validation_skill:+.2%}"
    return replace(judged, reason=f"passes, but {best.family} has the better validation skill, {skills}: {judged.reason}")


def _summary(best: Judged | None, tried: int, level: float) -> str:
    if best is None:
        return f"no edge: none of {tried} candidates has both lower bounds above 0 at {level:.2%} confidence; nothing is promoted"
    return f"{best.family} is promoted: {best.reason}"


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
