from __future__ import annotations

from itertools import pairwise

import pytest

from yolo_serving.metrics import Identity, Metrics, latency_buckets


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


@pytest.mark.parametrize("objective", [0.02, 0.05, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("name", ["inference_request_duration_seconds", "inference_stage_duration_seconds"])
def test_what_is_registered_has_all_the_bounds(name: str, objective: float) -> None:
    metrics = Metrics(Identity("m", "v1", "0" * 12, "cpu"), ["red"], objective)
    buckets = {
        float(sample.labels["le"])
        for family in metrics.registry.collect()
        if family.name == name
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    assert {*latency_buckets(objective), float("inf")} == buckets
