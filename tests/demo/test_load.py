"""The load generator against a small server of the test: does it keep its schedule, and does it tell what it saw?"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from demo.load import Plan, count_boxes, generate
from demo.records import NOT_PARSED, Record, format_record, parse_record
from demo.traffic import Target, Traffic
from demo.waiting import wait_for

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[URL]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "0000.jpg").write_bytes(b"jpeg of two")
    (folder / "truth.json").write_text(json.dumps({"images": {"0000.jpg": [{}, {}]}}))
    return folder


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners = []

    async def start(handler: Handler) -> URL:
        application = web.Application()
        application.router.add_post("/predict", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return URL(f"http://127.0.0.1:{runner.addresses[0][1]}/predict")

    yield start
    for runner in runners:
        await runner.cleanup()


def plan(url: URL, pictures: Path, **changes: object) -> Plan:
    fields = {"host": "vision.test", "rate": 100.0, "seconds": 0.5, "parse_every": 1, **changes}
    return Plan(url=url, pictures=pictures, output=pictures.parent / "records", **fields)  # type: ignore[arg-type]


def read(plan: Plan) -> list[Record]:
    return [parse_record(line) for line in plan.output.read_text().splitlines()]


async def test_a_slow_server_does_not_slow_the_schedule(serve: Serve, pictures: Path) -> None:
    async def slow(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(0.3)
        return web.json_response({"detections": [1, 2]}, headers={"x-model-version": "v1", "x-served-by": "a;"})

    chosen = plan(await serve(slow), pictures)
    account = await generate(chosen)
    records = read(chosen)

    assert account["sent"] == 50
    assert {record.status for record in records} == {200}
    due = sorted(record.due_at for record in records)  # records are written as answers come
    gaps = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert max(gaps) == pytest.approx(0.01, abs=0.001)
    assert all(record.milliseconds >= 300 for record in records)
    seen = {(record.version, record.upstream, record.boxes, record.shapes) for record in records}
    assert seen == {("v1", "a;", 2, 2)}


async def test_pictures_are_sent_as_they_are_under_the_host_of_the_route(serve: Serve, pictures: Path) -> None:
    seen = []

    async def remember(request: web.Request) -> web.Response:
        seen.append((request.headers["Host"], request.content_type, await request.read()))
        return web.Response(status=503, text="no healthy upstream")

    chosen = plan(await serve(remember), pictures, seconds=0.05)
    await generate(chosen)

    assert set(seen) == {("vision.test", "image/jpeg", b"jpeg of two")}
    assert {(record.status, record.is_error, record.problem) for record in read(chosen)} == {
        (503, True, "no healthy upstream")
    }


async def test_a_connection_that_ends_is_an_error_and_is_not_sent_again(serve: Serve, pictures: Path) -> None:
    calls = 0

    async def hang_up(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    chosen = plan(await serve(hang_up), pictures, seconds=0.1)
    account = await generate(chosen)

    assert calls == account["sent"] == 10
    assert {(record.status, record.version, record.is_error) for record in read(chosen)} == {(0, "", True)}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"url": URL("http://192.0.2.1/predict")}, "this machine only"),
        ({"rate": 0}, "rate"),
        ({"rate": 1e6}, "rate"),
        ({"seconds": 1e6}, "seconds"),
    ],
)
def test_load_is_bounded(changes: dict[str, object], complaint: str, pictures: Path) -> None:
    with pytest.raises(ValueError, match=complaint):
        plan(**{"url": URL("http://127.0.0.1/predict"), "pictures": pictures, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "boxes"),
    [(b'{"detections": [{}, {}]}', 2), (b'{"detections": []}', 0), (b"[]", NOT_PARSED), (b"<html>", NOT_PARSED)],
)
def test_boxes_are_counted_only_in_answers_of_the_known_form(body: bytes, boxes: int) -> None:
    assert count_boxes(body) == boxes


def test_a_record_survives_its_line() -> None:
    record = Record(1.5, 2.25, 0, "", "outbound|80||a.b", 3, 4, "reset\tby\npeer")
    assert parse_record(format_record(record)) == Record(1.5, 2.25, 0, "", "outbound|80||a.b", 3, 4, "reset by peer")


async def test_the_parent_sees_records_while_they_come_and_the_account_at_the_end(
    serve: Serve, pictures: Path, tmp_path: Path
) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(headers={"x-model-version": "v1"})

    url = await serve(answer)

    def watch_traffic() -> tuple[int, int]:
        with Traffic(Target(str(url.origin()), "vision.test", pictures), 50, tmp_path / "out") as traffic:
            wait_for("ten records", lambda: len(traffic.records) >= 10, 15)
            account = traffic.stop()
            return account.sent, len(traffic.records)

    sent, seen = await asyncio.to_thread(watch_traffic)
    assert sent == seen >= 10


def test_the_generator_ends_when_its_parent_is_gone(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ["--url", "http://127.0.0.1:9/predict", "--host", "h", "--pictures", str(pictures), "--output", str(output)]
    starter = (
        "import os, subprocess, sys\n"
        "words = [sys.executable, '-m', 'demo.load', *sys.argv[1:], '--parent', str(os.getpid())]\n"
        "print(subprocess.Popen(words, stdout=subprocess.DEVNULL).pid)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "deploy/local")}
    command = [sys.executable, "-c", starter, *words]
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    pid = int(said.stdout.splitlines()[0])

    def is_gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    try:
        wait_for("the generator to end", is_gone, 10)
    finally:
        if not is_gone():
            os.kill(pid, signal.SIGKILL)
    assert time.time() - output.stat().st_mtime < 15
