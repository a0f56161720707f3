"""The real server with a trained model, offered more than it can do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from serving_process import ServerProcess

import build_models
from serving_bench.client import closed_loop, open_loop, prepared
from yolo_serving.shapes import Split, picture

DEADLINE_MS = 3000
SECONDS = 4.0


@pytest.mark.timeout(4000)
def test_at_twice_the_capacity_accepted_requests_keep_their_deadline_and_the_rest_is_refused(
    start_server: Callable[..., ServerProcess],
) -> None:
    models = build_models.build(build_models.cache_folder())
    server = start_server(
        MODEL_PATH=str(models / "v1.1.0" / "model.onnx"), DEADLINE_MILLISECONDS=str(DEADLINE_MS), QUEUE_SIZE="24"
    )
    requests = prepared([picture(Split.HELD_OUT, index).jpeg() for index in range(10)])
    capacity = closed_loop(server.port, requests, 16, 300).rate()

    outcome = open_loop(server.port, requests, 2 * capacity, SECONDS, connections=64)

    assert set(outcome.codes) == {200, 429}
    assert outcome.codes[200] >= 0.5 * capacity * SECONDS
    assert 1000 * max(outcome.answered_seconds_by_code[200]) < DEADLINE_MS
    # Places are free again as soon as the load is gone.
    assert set(closed_loop(server.port, requests, 4, 20).codes) == {200}
