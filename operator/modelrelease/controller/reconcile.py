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
from modelrelease.census import Census, Entry, entry_of
from modelrelease.controller.analyst import Analyst
from modelrelease.controller.contention import Contention
from modelrelease.controller.execute import Executor
from modelrelease.controller.gather import Gatherer, Look
from modelrelease.controller.orphan import Orphans
from modelrelease.controller.refresh import Refreshes, is_intent, is_significant
from modelrelease.controller.tally import tally
from modelrelease.controller.timekeeping import Timekeeper
from modelrelease.errors import Forbidden, InvalidResource, Retryable, Terminal, Throttled
from modelrelease.ports import Announcer, Clock, Cluster, Key, Kind, Manifest
from modelrelease.rollout.conditions import Stall, with_conditions
from modelrelease.rollout.decide import decide, way_back
from modelrelease.rollout.decision import Announcement, Decision
from modelrelease.rollout.labels import FINALIZER
from modelrelease.rollout.outcome import interval_seconds

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
    census: Census


class Reconciler:
    """Takes a key, never an event's body: what counts is what the API server says now."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._refreshes = Refreshes(tools.clock.monotonic)
        self._times = Timekeeper(tools.clock.monotonic)

    async def reconcile(self, key: Key) -> float | None:
        """Do the next thing for `key`; returns after how many seconds to look again, None for never."""
        release = await self._tools.cluster.get(Kind.MODEL_RELEASE, key.namespace, key.name)
        if release is None:
            return await self._gone(key)
        now = self._tools.clock.now()
        try:
            look, decision = await self._decide(key, release, now)
        except InvalidResource as problem:
            return await self._refuse(key, release, str(problem), now)
        except Terminal as problem:
            await self._say(key, release, Stall(problem.reason, str(problem)), now)
            return STALLED_AGAIN_SECONDS
        self._tools.census.note(key, entry_of(decision.status, look.seen.analysis))
        self._tools.orphans.remember(key, look.reference, look.seen.spec.workload.deployment, decision.status)
        return await self._carry_out(key, look, decision)

    async def _decide(self, key: Key, release: Manifest, now: float) -> tuple[Look, Decision]:
        """What to do next. Where not all can be read, a look at the route and the metrics is enough to take traffic off
        the canary; all else waits, and the failure is handled as any other."""
        gatherer = self._tools.gatherer
        status = self._times.kept(key, parse_status(cast(dict[str, Any], release).get("status")), now)
        try:
            look = await gatherer.look(key, release, status, now)
        except Throttled:
            raise
        except (Forbidden, Retryable):
            glance = await gatherer.glance(key, release, status, now)
            decision = None if glance is None else way_back(glance.seen, now)
            if glance is None or decision is None:
                raise
            return glance, decision
        return look, decide(look.seen, now)

    async def _gone(self, key: Key) -> float | None:
        self._tools.analyst.forget(key)
        self._tools.contention.forget(key)
        self._refreshes.forget(key)
        self._times.forget(key)
        self._tools.census.forget(key)
        return await self._tools.orphans.clean_up(key)

    async def _carry_out(self, key: Key, look: Look, decision: Decision) -> float:
        if decision.effect is not None:
            _log.info("effect", release=str(key), effect=repr(decision.effect), phase=str(look.seen.status.phase))
        if decision.effect is not None and decision.effect_first:
            try:
                await self._tools.executor.carry_out(decision.effect, look)
            except Terminal as problem:
                return await self._stall(key, look, problem)
        look = await self._write_status(key, look, decision)
        if decision.effect is not None and not decision.effect_first:
            try:
                await self._tools.executor.carry_out(decision.effect, look)
            except Terminal as problem:
                return await self._stall(key, look, problem)
        for announcement in decision.announcements:
            _log.info("announce", release=str(key), reason=announcement.reason, message=announcement.message)
            await self._tools.announcer.announce(look.release, announcement)
        return decision.again_seconds

    async def _write_status(self, key: Key, look: Look, decision: Decision) -> Look:
        """Write what must not be lost at once, figures when it is their turn, and nothing where nothing changed.

        While an effect was refused for good the last time, Stalled stays until it succeeds: to take it off for the
        next attempt, and put it back after that, would be two writes and an Event each time.
        """
        before, after = look.seen.status, decision.status
        if not self._times.has_moved(key):
            if decision.effect is not None and _is_stalled(before) and not is_intent(before, after):
                return look
            if not is_significant(before, after) and not self._is_refresh_due(key, look, after):
                return look
        release = await self._replace_status(look.release, after)
        tally(before, after, self._tools.clock.now())
        return replace(look, release=release, seen=replace(look.seen, status=after))

    def _is_refresh_due(self, key: Key, look: Look, after: ReleaseStatus) -> bool:
        before = look.seen.status
        if after.phase.is_at_rest:
            return after.message != before.message
        confirms = after.confirmed_weight != before.confirmed_weight
        return after != before and self._refreshes.allow(key, interval_seconds(look.seen), confirms=confirms)

    async def _replace_status(self, release: Manifest, status: ReleaseStatus) -> Manifest:
        manifest: Manifest = {**release, "status": dump_status(status)}
        return await self._tools.cluster.replace_status(Kind.MODEL_RELEASE, manifest)

    async def _stall(self, key: Key, look: Look, problem: Terminal) -> float:
        """Say what only a person can change, and keep trying.

        On top of the status that was written last: what was decided stands, it just could not be done.
        """
        before, stall = look.seen.status, Stall(problem.reason, str(problem))
        condition = before.condition(ConditionType.STALLED)
        fresh = condition is None or condition.reason != problem.reason
        after = before.model_copy(update={"message": str(problem)})
        after = with_conditions(after, look.seen, self._tools.clock.now(), stall)
        self._tools.census.note(key, entry_of(after, look.seen.analysis))
        if is_significant(before, after):
            await self._replace_status(look.release, after)
        if fresh:
            await self._tools.announcer.announce(look.release, Announcement(problem.reason, str(problem), warning=True))
        return STALLED_AGAIN_SECONDS

    async def _refuse(self, key: Key, release: Manifest, sentence: str, now: float) -> float:
        """A spec that cannot be read, and no release under way: nothing is guessed, nothing begins."""
        body = cast(dict[str, Any], release)
        if "deletionTimestamp" in body["metadata"] and FINALIZER in (body["metadata"].get("finalizers") or []):
            await self._tools.executor.remove_finalizer(release)  # no canary was ever made for it
            return 0.0
        await self._say(key, release, Stall("InvalidSpec", sentence), now)
        return 60.0

    async def _say(self, key: Key, release: Manifest, stall: Stall, now: float) -> None:
        """Why there is no decision: on top of the status as it stands, once; all else in it stays."""
        body = cast(dict[str, Any], release)
        status = parse_status(body.get("status"))
        self._tools.census.note(key, Entry(status.phase, stall.reason))
        if status.message != stall.message:
            await self._replace_status(release, _stalled(status, stall, body["metadata"]["generation"], now))
            await self._tools.announcer.announce(release, Announcement(stall.reason, stall.message, warning=True))


def _is_stalled(status: ReleaseStatus) -> bool:
    condition = status.condition(ConditionType.STALLED)
    return condition is not None and condition.status is ConditionStatus.TRUE


def _stalled(status: ReleaseStatus, stall: Stall, generation: int, now: float) -> ReleaseStatus:
    wanted = {
        ConditionType.READY: ConditionStatus.FALSE,
        ConditionType.RECONCILING: ConditionStatus.FALSE,
        ConditionType.STALLED: ConditionStatus.TRUE,
    }
    others = [one for one in status.conditions if one.type not in wanted]
    fresh = [
        Condition(
            type=kind,
            status=value,
            reason=stall.reason,
            message=stall.message,
            observed_generation=generation,
            last_transition_time=now,
        )
        for kind, value in wanted.items()
    ]
    update = {"message": stall.message, "conditions": [*fresh, *others], "observed_generation": generation}
    return status.model_copy(update=update)
