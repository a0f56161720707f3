"""How much of stable's traffic is measured before a release: as much as the release itself would begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.cli.forecast import judged_state
from modelrelease.cli.measured import Traffic, lag_seconds, measured_pods, measured_windows, require_traffic
from modelrelease.controller.case import LONGER_HISTORY
from modelrelease.judge import history_shortfall
from modelrelease.ports import Metrics, Watched
from modelrelease.rollout.seen import DeploymentSeen


@dataclass(frozen=True, slots=True)
class Stretch:
    """What to measure.

    now: unix seconds.
    served_seconds: for how long stable has served, without its warm-up; what was before is another version's.
    asked_seconds: what a person wants; None: as much as a release would read.
    """

    now: float
    served_seconds: float
    asked_seconds: float | None = None


def served_seconds(stable: DeploymentSeen | None, spec: ModelReleaseSpec, now: float) -> float:
    """For how long stable's history tells something about the version that runs; where nobody knows, for ever."""
    since = stable.serving_since_seconds if stable is not None else None
    return now - (since or 0.0) - spec.analysis.warm_up


async def measure(metrics: Metrics, watched: Watched, spec: ModelReleaseSpec, stretch: Stretch) -> Traffic:
    """Stable's traffic; more than the baseline where that shows too little of its P99. Raises Problem without any."""
    baseline = spec.analysis.baseline
    if stretch.asked_seconds is not None:
        return await _measured(metrics, watched, spec, (stretch.now, stretch.asked_seconds))
    traffic = await _measured(metrics, watched, spec, (stretch.now, min(baseline, stretch.served_seconds)))
    if stretch.served_seconds <= baseline or history_shortfall(judged_state(spec, traffic)) == 0:
        return traffic
    longer = min(LONGER_HISTORY * baseline, stretch.served_seconds)
    return await _measured(metrics, watched, spec, (stretch.now, longer))


async def _measured(metrics: Metrics, watched: Watched, spec: ModelReleaseSpec, span: tuple[float, float]) -> Traffic:
    """span: (now, seconds back)."""
    now, back = span
    between = now - back, now - lag_seconds(spec, metrics.scrape_interval_seconds)
    found = await measured_windows(metrics, watched, between, spec.analysis.interval)
    pods = await measured_pods(metrics, watched, between, spec.analysis.interval)
    return replace(require_traffic(found, watched), pods=pods)
