"""Starts the server: settings, model, HTTP; ends it as Kubernetes asks for it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from yolo_serving.app import Server, build_server
from yolo_serving.connections import BoundedConfig
from yolo_serving.errors import StartupError
from yolo_serving.logs import configure_logs
from yolo_serving.metrics import Identity
from yolo_serving.model import load_model
from yolo_serving.model_location import find_model
from yolo_serving.readiness import Readiness
from yolo_serving.settings import Settings, read_settings

log = logging.getLogger("yolo_serving")

# Kubernetes shows what is written here in `kubectl describe pod`.
_TERMINATION_LOG = Path("/dev/termination-log")
_SWITCH_SECONDS = 0.001


class DrainingServer(uvicorn.Server):
    """uvicorn, but SIGTERM first ends readiness and only after the drain time the service."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness) -> None:
        super().__init__(config)
        self._readiness = readiness

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT ends at once, as a person at a terminal expects; SIGTERM drains."""
        if sig == signal.SIGINT:
            super().handle_exit(sig, frame)
        else:
            self._readiness.drain()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; true ends the service after the requests under way."""
        return await super().on_tick(counter) or self._readiness.drained


def main() -> int:
    """Runs until it is told to end; 1 when it cannot start."""
    # As process 1 of a container Python has no default action for SIGTERM: without this a loading server ignores it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    configure_logs("INFO")
    try:
        settings = read_settings(os.environ)
        configure_logs(settings.log_level)
        server = _load(settings)
    except StartupError as error:
        log.error("cannot start: %s", error)  # noqa: TRY400  # the sentence is meant for a person, not the traceback
        _leave_word(str(error))
        return 1
    # What is alive now stays: the garbage collector need not walk through it during requests.
    gc.collect()
    gc.freeze()
    # The event loop answers others while a lane's thread is in the interpreter; the default, 5 ms, shows in the P99.
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvicorn_server = DrainingServer(_uvicorn_config(settings, server), server.instance.readiness)
    with asyncio.Runner(loop_factory=uvicorn_server.config.get_loop_factory()) as runner:
        runner.run(_serve(uvicorn_server, server))
    return 0 if uvicorn_server.started else 1


def _load(settings: Settings) -> Server:
    located = find_model(settings.model)
    model = load_model(located.path, settings.execution)
    identity = Identity(settings.model_name, located.version, model.card.digest[:12], settings.execution.provider)
    log.info(
        "model loaded",
        extra={
            "model": identity.model,
            "version": identity.version,
            "sha256": model.card.digest,
            "provider": identity.provider,
            "side": model.card.side,
            "classes": len(model.card.class_names),
            "threads": settings.execution.threads,
            "lanes": settings.batching.lanes,
        },
    )
    return build_server(settings, model, identity)


def _uvicorn_config(settings: Settings, server: Server) -> uvicorn.Config:
    listening = settings.listening
    return BoundedConfig(
        app=server.app, host=listening.host, port=listening.port, loop="uvloop", ws="none",
        limits=settings.connections, refusal=server.app.refusal,
        lifespan="on", proxy_headers=False, log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=listening.keep_alive_seconds, timeout_graceful_shutdown=listening.finish_seconds,
    )  # fmt: skip


async def _serve(uvicorn_server: DrainingServer, server: Server) -> None:
    crash_after = server.instance.faults.plan.crash_after_ready_seconds
    if crash_after is not None:
        asyncio.get_running_loop().call_later(crash_after, server.instance.faults.crash)
    await uvicorn_server.serve()


def _leave_word(sentence: str) -> None:
    """Best effort: outside Kubernetes there is no such file."""
    if _TERMINATION_LOG.is_file():
        try:
            _TERMINATION_LOG.write_text(sentence, encoding="utf-8")
        except OSError as error:
            log.warning("cannot write the termination log: %s", error)


if __name__ == "__main__":
    raise SystemExit(main())
