"""The judge: is the canary worse than stable, and is it good enough to get more traffic?

Pure statistics, usable without the operator: no input or output, no clock, no randomness, no state but what is passed
in. ``begin`` a release, ``enter_step`` for each weight, ``observe`` each window of requests, and ``assess``.
"""

from modelrelease.judge.alignment import LOOKBACK_SCRAPES
from modelrelease.judge.assessment import Assessment, MetricAssessment, assess
from modelrelease.judge.counters import windows
from modelrelease.judge.evidence import Margin
from modelrelease.judge.native import NativeSample, classic_buckets, native_bounds
from modelrelease.judge.planner import Estimate, Rates, requests_to_detect, requests_to_pass, seconds_to_gate
from modelrelease.judge.process import observe, observe_many
from modelrelease.judge.samples import Arm, Series, Window
from modelrelease.judge.settings import ErrorTolerance, LatencyTolerance, Settings
from modelrelease.judge.state import Blame, State, Transition
from modelrelease.judge.steps import begin, enter_step, history_shortfall, skip_to

__all__ = [
    "LOOKBACK_SCRAPES",
    "Arm",
    "Assessment",
    "Blame",
    "ErrorTolerance",
    "Estimate",
    "LatencyTolerance",
    "Margin",
    "MetricAssessment",
    "NativeSample",
    "Rates",
    "Series",
    "Settings",
    "State",
    "Transition",
    "Window",
    "assess",
    "begin",
    "classic_buckets",
    "enter_step",
    "history_shortfall",
    "native_bounds",
    "observe",
    "observe_many",
    "requests_to_detect",
    "requests_to_pass",
    "seconds_to_gate",
    "skip_to",
    "windows",
]
