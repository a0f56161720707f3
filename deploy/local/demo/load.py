"""Steady traffic of real pictures to the gateway of this machine, in a process of its own.

Open loop: request i is due at start + i / rate, whatever became of the ones before it; a slow or dead server cannot
slow the clients down. Bounded three ways: in time, in requests under way, and by the life of the process that started
it. It aims at the loopback address only. Each finished request is one line of `records.py` in the output file; on
SIGTERM the requests under way are awaited, then one line of JSON on standard output says what the generator itself
did and cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import aiohttp
from yarl import URL

from demo.records import NOT_PARSED, Record, format_record

LONGEST_SECONDS: Final = 3600.0
MOST_UNDER_WAY: Final = 400
HIGHEST_RATE: Final = 500.0
REQUEST_TIMEOUT_SECONDS: Final = 10.0
_FLUSH_SECONDS: Final = 0.1
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send where: `rate` requests/s to `url` under the name `host`, for at most `seconds`."""

    url: URL
    host: str
    rate: float
    seconds: float
    pictures: Path
    output: Path
    parse_every: int = 9
    parent: int = 0
    """Process id without which to stop; 0 for none."""

    def __post_init__(self) -> None:
        if self.url.host not in _LOOPBACK:
            raise ValueError(f"the load generator aims at this machine only, not at {self.url.host}")
        if not 0 < self.rate <= HIGHEST_RATE:
            raise ValueError(f"rate must be above 0 and at most {HIGHEST_RATE:g} requests/s, not {self.rate:g}")
        if not 0 < self.seconds <= LONGEST_SECONDS:
            raise ValueError(f"seconds must be above 0 and at most {LONGEST_SECONDS:g}, not {self.seconds:g}")


@dataclass(frozen=True, slots=True)
class Sample:
    """A JPEG and how many shapes are in it."""

    jpeg: bytes
    shapes: int


def read_samples(folder: Path) -> list[Sample]:
    """The pictures that `yolo_serving.shapes.write_pictures` wrote, in the order of their names."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["images"]
    return [Sample((folder / name).read_bytes(), len(truth[name])) for name in sorted(truth)]


def count_boxes(body: bytes) -> int:
    """How many objects the answer of `POST /predict` holds; NOT_PARSED where it has another form."""
    try:
        answer = json.loads(body)
    except ValueError:
        return NOT_PARSED
    found = answer.get("detections") if isinstance(answer, dict) else None
    return len(found) if isinstance(found, list) else NOT_PARSED


class Generator:
    """Sends on schedule and writes a record for each request."""

    def __init__(self, plan: Plan, output: TextIO) -> None:
        self._plan, self._output = plan, output
        self._samples = read_samples(plan.pictures)
        self._under_way: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self.sent = 0
        self.worst_late_seconds = 0.0

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()

    async def run(self) -> None:
        """Send until the time is over, somebody says stop, or the parent process is gone."""
        async with self._session() as session:
            flusher = asyncio.create_task(self._keep_flushing())
            await self._follow_schedule(session)
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=REQUEST_TIMEOUT_SECONDS + 1)
            flusher.cancel()
            await asyncio.gather(flusher, return_exceptions=True)
        self._output.flush()

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            headers={"Host": self._plan.host, "Content-Type": "image/jpeg"},
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def _follow_schedule(self, session: aiohttp.ClientSession) -> None:
        began, offset = time.monotonic(), time.time() - time.monotonic()
        for number in range(int(self._plan.seconds * self._plan.rate)):
            due = began + number / self._plan.rate
            if await self._wait_until(due):
                return
            self.sent += 1
            self.worst_late_seconds = max(self.worst_late_seconds, time.monotonic() - due)
            if len(self._under_way) >= MOST_UNDER_WAY:
                self._write(Record(due + offset, time.time(), 0, "", "", problem="not sent: too many under way"))
                continue
            task = asyncio.create_task(self._send(session, number, due + offset))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _wait_until(self, due: float) -> bool:
        """True where there is nothing more to send."""
        remaining = due - time.monotonic()
        if remaining > 0:
            await asyncio.sleep(remaining)
        return self._stop.is_set() or (self._plan.parent != 0 and os.getppid() != self._plan.parent)

    async def _send(self, session: aiohttp.ClientSession, number: int, due_at: float) -> None:
        sample = self._samples[number % len(self._samples)]
        boxes = NOT_PARSED
        try:
            async with session.post(self._plan.url, data=sample.jpeg) as answer:
                body = await answer.read()
                ended_at, status = time.time(), answer.status
                version = answer.headers.get("x-model-version", "")
                upstream = answer.headers.get("x-served-by", "")
            if status == 200 and number % self._plan.parse_every == 0:
                boxes = count_boxes(body)
            problem = "" if status < 400 else body[:80].decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._write(Record(due_at, time.time(), 0, "", "", problem=f"{type(error).__name__}: {error}"))
            return
        self._write(Record(due_at, ended_at, status, version, upstream, boxes, sample.shapes, problem))

    def _write(self, record: Record) -> None:
        self._output.write(format_record(record) + "\n")

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self._output.flush()


async def generate(plan: Plan) -> dict[str, float]:
    """Run the plan; returns what the generator did and cost."""
    plan.output.parent.mkdir(parents=True, exist_ok=True)
    with plan.output.open("w", encoding="utf-8") as output:
        generator = Generator(plan, output)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, generator.stop)
        before = resource.getrusage(resource.RUSAGE_SELF)
        await generator.run()
        after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "sent": generator.sent,
        "cpu_microseconds_per_request": round(spent / max(1, generator.sent) * 1e6, 1),
        "worst_late_milliseconds": round(generator.worst_late_seconds * 1000, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; `demo.traffic` is who calls it."""
    parser = argparse.ArgumentParser(prog="python -m demo.load", description="Send pictures to the local gateway.")
    parser.add_argument("--url", type=URL, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=LONGEST_SECONDS)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--parse-every", type=int, default=10)
    parser.add_argument("--parent", type=int, default=0, help="stop when this process is not the parent any more")
    try:
        plan = Plan(**vars(parser.parse_args(arguments)))
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write(json.dumps(asyncio.run(generate(plan))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
