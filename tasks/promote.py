"""Promotion: a verified bundle under the home first, then MLflow's aliases. The trader needs only the bundle."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

from feature_store.clock import Clock
from serving import bundle
from serving.model import OnnxModel
from tasks import record, track
from tasks._step import step
from tasks.results import RetrainReport
from tasks.settings import MlflowSettings
from tasks.train import Job

log = logging.getLogger("tradewind")


@step("promote {job.name}")
def promote(job: Job, report: RetrainReport, mlflow: MlflowSettings, clock: Clock) -> RetrainReport:
    """Track the retrain and, when the gate let one pass, make it champion; the report with its run ids.

    Order: the bundle is written and verified, `current` is swapped, the alias follows. A kill between leaves a
    champion that trades and an alias that the next run of the same retrain sets.
    """
    ids = track.track.fn(job.home, mlflow, report, clock, record.lock_hash())
    report = replace(report, run_ids=ids)
    if report.promoted is not None:
        _swap(job, report, clock)
    # What passed serves; what did not, and was best, is the one to watch.
    family, alias = (report.promoted, "champion") if report.promoted else (str(report.rows()[0]["family"]), "challenger")
    path = job.folder / next(r.final_onnx for r in report.families if r.family == family)
    track.register.fn(job.home, mlflow, job.name, ids[family], path, [alias])
    return report


def _swap(job: Job, report: RetrainReport, clock: Clock) -> None:
    result = next(r for r in report.families if r.family == report.promoted)
    content = (job.folder / result.final_onnx).read_bytes()
    manifest = OnnxModel.load(content).manifest
    written = bundle.write_bundle(
        job.home,
        job.name,
        content,
        json.loads(manifest.to_json()),
        gated=True,
        verdict=str(report.verdict["summary"]),
        promoted_at=clock.now_utc().isoformat(),
        promoted_by="gate",
        run_id=report.run_ids.get(result.family),
    )
    before = bundle.promote(job.home, job.name, written.sha256)
    log.info("champion of %s is %s (%s), before: %s", job.name, result.family, written.sha256[:12], (before or "none")[:12])
