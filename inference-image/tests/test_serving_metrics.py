from __future__ import annotations

from itertools import pairwise

import pytest

from yolo_serving.metrics import latency_buckets


@pytest.mark.parametrize("objective", [0.05, 0.003, 1.0])
def test_bounds_are_fine_around_the_objective(objective: float) -> None:
    bounds = latency_buckets(objective)
    assert objective in bounds
    assert list(bounds) == sorted(set(bounds))
    assert bounds[0] <= 0.0005
    assert bounds[-1] >= 30
    near = [bound for bound in bounds if objective / 8 <= bound <= objective * 8]
    ratios = [later / earlier for earlier, later in pairwise(near)]
    assert ratios == pytest.approx([1.25] * len(ratios), rel=1e-3)
    assert len(bounds) < 40
