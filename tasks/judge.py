"""The judge: what every family did on the holdout goes through the gate, and the ledger remembers the look."""

from __future__ import annotations

import logging

import numpy as np

from feature_store.seeds import seed_of
from feature_store.snapshot import open_snapshot
from model_zoo.judgment.gate import Candidate, leak_alarm
from model_zoo.judgment.gate import judge as gate_judge
from tasks import artifacts
from tasks._step import step
from tasks.home import Home
from tasks.ledger import Ledger, Span
from tasks.plan import make_plan
from tasks.results import FamilyResult, RetrainReport
from tasks.train import Job

log = logging.getLogger("tradewind")


@step("judge {job.name}")
def judge(job: Job, results: list[FamilyResult]) -> RetrainReport:
    """The report of this retrain with its verdict; nothing is promoted yet.

    The gate is handed numbers of the holdout and nothing about the market they come from.
    """
    snapshot = open_snapshot(job.snapshot)
    plan = make_plan(snapshot, job.pipeline)
    span = Span(job.pipeline.feed, job.pipeline.symbols, *plan.holdout_span)
    families = [r.family for r in results]
    looks = Ledger(Home(job.home).ledger).look(run=job.key, families=families, pipeline=job.name, span=span)
    verdict = gate_judge(
        [_candidate(job, r) for r in results],
        confidence=job.pipeline.gate.confidence,
        looks=looks,
        seed=seed_of(job.pipeline.seed, "gate"),
    )
    document = verdict.as_dict()
    alarms = [a for r in results if (a := leak_alarm(r.oos.auc_low, r.mode)) is not None]  # type: ignore[arg-type]
    for alarm in alarms:
        log.warning("%s", alarm)
    document["alarms"] = alarms
    report = RetrainReport(
        pipeline=job.name,
        run_key=job.key,
        snapshot=snapshot.id,
        as_of=job.as_of,
        feed=job.pipeline.feed,
        symbols=list(job.pipeline.symbols),
        timeframe=job.pipeline.timeframe,
        mode=str(snapshot.manifest.provenance["mode"]),
        cost_source=str(snapshot.manifest.provenance["cost_source"]),
        families=results,
        verdict=document,
        promoted=verdict.promoted,
    )
    artifacts.publish_table("leaderboard", report.rows(), f"Families of {job.name}, out of sample")
    reasons = "\n".join(f"- **{c.family}**: {c.reason}" for c in verdict.candidates)
    artifacts.publish_markdown("verdict", f"{verdict.summary}\n\n{reasons}", f"Verdict on {job.name}")
    return report


def _candidate(job: Job, result: FamilyResult) -> Candidate:
    with np.load(job.folder / result.family / "holdout.npz") as held:
        return Candidate(
            family=result.family,
            validation_skill=result.oos.skill,
            times_s=held["times_s"],
            loss=held["loss"],
            base_loss=held["base_loss"],
            daily_net=held["daily_net"],
            trades=result.holdout.trades,
            label_moments=float(job.pipeline.label.horizon_bars),
        )
