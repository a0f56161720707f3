"""What no method can beat: the information bound on the requests that a decision needs.

A test that is wrong with probability at most a needs, on average, log(1/a)/KL observations, where KL is how much one
observation tells the truth from the tolerated rates that are hardest to tell from it (Wald 1945; Lorden 1971).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from modelrelease.judge.evidence import Margin


def _divergence(truth: float, other: float) -> float:
    gone = 0.0 if truth == 0 else truth * np.log(truth / other)
    return float(gone + (1 - truth) * np.log((1 - truth) / (1 - other)))


def information(canary_rate: float, stable_rate: float, margin: Margin, traffic_ratio: float) -> float:
    """Nats per canary request, both arms counted, against the nearest pair of rates on the border."""
    r, d = float(margin.ratio), float(margin.increase)

    def slope(t: float) -> float:
        c = r * t + d
        return traffic_ratio * r * (canary_rate - c) / (c * (1 - c)) + (stable_rate - t) / (t * (1 - t))

    t = brentq(slope, 1e-15, (1 - d) / r * (1 - 1e-12), xtol=1e-16)
    return _divergence(canary_rate, r * t + d) + _divergence(stable_rate, t) / traffic_ratio


def bound(probability: float, canary_rate: float, stable_rate: float, margin: Margin, traffic_ratio: float) -> float:
    """Least mean number of canary requests for a test that is wrong with at most this probability."""
    return -np.log(probability) / information(canary_rate, stable_rate, margin, traffic_ratio)
