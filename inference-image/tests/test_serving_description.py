"""What the OpenAPI page promises, held against the server by schemathesis.

It makes requests from the description, good and bad ones, and checks status, content type, headers and body of every
answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from serving_process import ServerProcess

SCHEMATHESIS = Path(sys.executable).with_name("st")


@pytest.fixture(scope="module")
def described(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(MODEL_NAME="tiny", MODEL_VERSION="v1")


@pytest.mark.timeout(900)
def test_the_server_keeps_what_its_description_says(described: ServerProcess, tmp_path: Path) -> None:
    words = [
        "run", f"http://127.0.0.1:{described.port}/openapi.json", "--seed", "1", "--max-examples", "20",
        "--phases", "examples,coverage,fuzzing", "--continue-on-failure",
        # A schema cannot say that bytes are a picture, or that data have as many numbers as their shape needs.
        "--exclude-checks", "positive_data_acceptance",
    ]  # fmt: skip
    done = subprocess.run(
        [SCHEMATHESIS, *words], cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert described.process.poll() is None
    assert "request failed" not in described.log


def test_path_parameters_are_named(described: ServerProcess) -> None:
    description = json.loads(described.get("/openapi.json").body)
    [name, version] = description["paths"]["/v2/models/{name}/versions/{version}/infer"]["post"]["parameters"]
    assert (name["schema"]["enum"], version["schema"]["enum"]) == (["tiny"], ["v1"])
    [only] = description["paths"]["/v2/models/{name}/infer"]["post"]["parameters"]
    assert only["name"] == "name"


def test_the_page_needs_nothing_from_elsewhere(described: ServerProcess) -> None:
    answer = described.get("/docs")
    text = answer.body.decode()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not re.search("<script|<link|src=|https?://", text)
    assert 'action="predict?render=png"' in text
    assert "curl -F files=@one.jpg" in text


def test_the_example_of_a_tensor_is_served(described: ServerProcess) -> None:
    operation = json.loads(described.get("/openapi.json").body)["paths"]["/v2/models/{name}/infer"]["post"]
    program = operation["x-example"].split("'")[1]
    body = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60).stdout
    answer = described.predict(body, "/v2/models/tiny/infer", "application/json")
    assert (answer.status, answer.json()["model_version"]) == (200, "v1")
