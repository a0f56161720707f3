"""What the environment says becomes settings."""

from __future__ import annotations

import pytest

from yolo_serving.cpu_quota import usable_cores
from yolo_serving.settings import read_settings

CORES = usable_cores()


@pytest.mark.parametrize(
    ("environment", "lanes", "threads"),
    [
        ({}, min(CORES, 2), -(-CORES // min(CORES, 2))),
        ({"SCENARIO": "batch"}, min(CORES, 4), -(-CORES // min(CORES, 4))),
        ({"PROVIDER": "cuda"}, 1, CORES),
        ({"PROVIDER": "cuda", "SCENARIO": "batch"}, 1, CORES),
        ({"INFERENCE_LANES": "1"}, 1, CORES),
        ({"SCENARIO": "batch", "INFERENCE_LANES": "1"}, 1, CORES),
        ({"INFERENCE_LANES": "3", "INTRA_OP_THREADS": "5"}, 3, 5),
    ],
)
def test_cores_are_divided_among_the_lanes(environment: dict[str, str], lanes: int, threads: int) -> None:
    settings = read_settings(environment)
    assert (settings.batching.lanes, settings.execution.threads) == (lanes, threads)


def test_a_scenario_is_a_preset_that_each_setting_overrides() -> None:
    batch = read_settings({"SCENARIO": "batch"}).batching
    own = read_settings({"SCENARIO": "batch", "MAX_DELAY_MILLISECONDS": "3", "QUEUE_SIZE": "7"}).batching
    assert (batch.max_batch, batch.max_delay_seconds) == (16, 0.01)
    assert (own.max_batch, own.max_delay_seconds, own.queue_size) == (16, 0.003, 7)
