"""One key, one look, one decision, one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import structlog

from modelrelease.api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    ReleaseStatus,
    dump_status,
    parse_status,
)
from modelrelease.controller.analyst import Analyst
from modelrelease.controller.contention import Contention
from modelrelease.controller.execute import Executor
from modelrelease.controller.gather import Gatherer, Look
from modelrelease.controller.orphan import Orphans
from modelrelease.controller.refresh import Refreshes, is_significant
from modelrelease.errors import InvalidResource, Terminal
from modelrelease.ports import Announcer, Clock, Cluster, Key, Kind, Manifest
from modelrelease.rollout.conditions import Stall
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import Announcement, Decision
from modelrelease.rollout.outcome import conclude, interval_seconds

STALLED_AGAIN_SECONDS = 10.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a reconciliation works with."""

    cluster: Cluster
    gatherer: Gatherer
    executor: Executor
    analyst: Analyst
    contention: Contention
    orphans: Orphans
    announcer: Announcer
    clock: Clock


class Reconciler:
    """Takes a key, never an event's body: what counts is what the API server says now."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._refreshes = Refreshes(tools.clock.monotonic)

    async def reconcile(self, key: Key) -> float | None:
        """Do the next thing for `key`; returns after how many seconds to look again, None for never."""
        release = await self._tools.cluster.get(Kind.MODEL_RELEASE, key.namespace, key.name)
        if release is None:
            await self._gone(key)
            return None
        now = self._tools.clock.now()
        try:
            look = await self._tools.gatherer.look(key, release, now)
        except InvalidResource as problem:
            return await self._refuse(release, str(problem), now)
        decision = decide(look.seen, now)
        try:
            return await self._carry_out(key, look, decision)
        except Terminal as problem:
            return await self._stall(look, problem)

    async def _gone(self, key: Key) -> None:
        self._tools.analyst.forget(key)
        self._tools.contention.forget(key)
        self._refreshes.forget(key)
        await self._tools.orphans.clean_up(key)

    async def _carry_out(self, key: Key, look: Look, decision: Decision) -> float:
        if decision.effect is not None:
            _log.info("effect", release=str(key), effect=repr(decision.effect), phase=str(look.seen.status.phase))
        if decision.effect is not None and decision.effect_first:
            await self._tools.executor.carry_out(decision.effect, look)
        look = replace(look, release=await self._write_status(key, look, decision))
        if decision.effect is not None and not decision.effect_first:
            await self._tools.executor.carry_out(decision.effect, look)
        for announcement in decision.announcements:
            _log.info("announce", release=str(key), reason=announcement.reason, message=announcement.message)
            await self._tools.announcer.announce(look.release, announcement)
        return decision.again_seconds

    async def _write_status(self, key: Key, look: Look, decision: Decision) -> Manifest:
        """Write what must not be lost at once, figures when it is their turn, and nothing where nothing changed."""
        before, after = look.seen.status, decision.status
        if not is_significant(before, after):
            at_rest = after.phase.is_at_rest
            if at_rest or after == before or not self._refreshes.allow(key, interval_seconds(look.seen)):
                return look.release
        return await self._replace_status(look.release, after)

    async def _replace_status(self, release: Manifest, status: ReleaseStatus) -> Manifest:
        manifest: Manifest = {**release, "status": dump_status(status)}
        return await self._tools.cluster.replace_status(Kind.MODEL_RELEASE, manifest)

    async def _stall(self, look: Look, problem: Terminal) -> float:
        """Say what only a person can change, and keep trying."""
        before = next((one for one in look.seen.status.conditions if one.type == "Stalled"), None)
        fresh = before is None or before.reason != problem.reason
        decision = conclude(look.seen, self._tools.clock.now(), str(problem), stall=Stall(problem.reason, str(problem)))
        if is_significant(look.seen.status, decision.status):
            await self._replace_status(look.release, decision.status)
        if fresh:
            await self._tools.announcer.announce(look.release, Announcement(problem.reason, str(problem), warning=True))
        return STALLED_AGAIN_SECONDS

    async def _refuse(self, release: Manifest, sentence: str, now: float) -> float:
        """A spec that cannot be read: nothing is guessed, nothing moves; a release under way keeps its weight."""
        body = cast(dict[str, Any], release)
        status = parse_status(body.get("status"))
        if status.message != sentence:
            await self._replace_status(release, _invalid(status, sentence, body["metadata"]["generation"], now))
            await self._tools.announcer.announce(release, Announcement("InvalidSpec", sentence, warning=True))
        return 60.0


def _invalid(status: ReleaseStatus, sentence: str, generation: int, now: float) -> ReleaseStatus:
    wanted = {ConditionType.READY: ConditionStatus.FALSE, ConditionType.STALLED: ConditionStatus.TRUE}
    others = [one for one in status.conditions if one.type not in wanted]
    fresh = [
        Condition(
            type=kind,
            status=value,
            reason="InvalidSpec",
            message=sentence,
            observed_generation=generation,
            last_transition_time=now,
        )
        for kind, value in wanted.items()
    ]
    update = {"message": sentence, "conditions": [*fresh, *others], "observed_generation": generation}
    return status.model_copy(update=update)
