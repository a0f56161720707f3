"""Steering verbs and `wait`, answered by the real controller in a simulated world."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from fakes import FakeClock
from modelrelease.adapters.announcer import EventAnnouncer
from modelrelease.api.annotations import Action
from modelrelease.api.status import Outcome, Phase
from modelrelease.cli.commands import steering, wait
from modelrelease.cli.commands.steering import Wish, steer, was_obeyed
from modelrelease.cli.commands.wait import Goal, wait_for
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem
from modelrelease.cli.releases import read_release
from modelrelease.errors import Retryable, Unauthorized
from modelrelease.ports import Announcement, Kind
from simulation import World
from simulation.world import NAME, NAMESPACE, NEW_IMAGE

T = TypeVar("T")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (steering, wait):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.001)


@pytest.fixture
async def world() -> World:
    made = World()
    made.announcer = EventAnnouncer(made.cluster, made.clock)
    made.restart()
    made.deploy_stable()
    await made.run(20)
    made.apply()
    await made.run(300, until=lambda one: one.weight == 5)
    return made


async def beside(world: World, waited: Awaitable[T], change: Callable[[], None] = lambda: None) -> T:
    """What is waited for, while time passes in the world."""
    task = asyncio.ensure_future(waited)
    await asyncio.sleep(0.02)
    change()
    for _ in range(1500):
        if task.done():
            break
        world.wake()
        await world.second()
        await asyncio.sleep(0.003)
    return await task


def asked(world: World, action: Action, value: str = "true", timeout_seconds: float = 20.0) -> Awaitable[object]:
    return steer(world.cluster, NAMESPACE, NAME, Wish(action, value, timeout_seconds))


@pytest.mark.parametrize(
    ("action", "value", "said"),
    [
        (Action.PAUSE, "true", "Forward moves are paused by annotation"),
        (Action.PROMOTE, "next", "A person approved step 3 of 5."),
        (Action.PROMOTE, "full", "A person promoted the release in full"),
        (Action.ABORT, "wrong weights, ask bob@example.com", "(wrong weights, ask bob@example.com)"),
    ],
)
async def test_a_wish_is_obeyed_and_answered(world: World, action: Action, value: str, said: str) -> None:
    answer = await beside(world, asked(world, action, value))
    assert isinstance(answer, steering.SteeringView)
    assert said in answer.message
    assert answer.value == f"{value}@{world.status.revision}"
    assert (action.annotation, answer.value) in [(one.name, one.value) for one in world.status.last_handled]


async def test_resume_goes_on_after_a_pause(world: World) -> None:
    await beside(world, asked(world, Action.PAUSE))
    await beside(world, asked(world, Action.RESUME))
    assert not world.status.paused


async def test_retry_begins_again_what_was_rolled_back(world: World) -> None:
    await beside(world, asked(world, Action.ABORT, "no"))
    await world.run(60, until=lambda one: one.status.phase is Phase.ROLLED_BACK)
    answer = await beside(world, asked(world, Action.RETRY))
    assert isinstance(answer, steering.SteeringView)
    assert "is tried again (retry 1)" in answer.message
    assert world.status.retries == 1


@pytest.mark.parametrize(
    ("action", "value", "why"),
    [
        (Action.RESUME, "true", "The release is not paused by annotation."),
        (Action.RETRY, "true", "There is nothing to retry: the phase is Progressing."),
    ],
)
async def test_what_the_operator_does_not_do_is_said_with_its_reason(
    world: World, action: Action, value: str, why: str
) -> None:
    with pytest.raises(Problem) as refused:
        await beside(world, asked(world, action, value))
    assert (why, ExitCode.NOT_OBEYED) == (str(refused.value), refused.value.code)


async def test_the_answer_is_the_one_to_this_wish(world: World) -> None:
    """Others steer, too, and what they are told may be newer."""
    other = Announcement("Resumed", "Somebody else was told this.")
    release = await world.cluster.get(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    assert release is not None
    await EventAnnouncer(world.cluster, FakeClock(world.clock.now() + 3600)).announce(release, other)
    answer = await beside(world, asked(world, Action.PAUSE))
    assert isinstance(answer, steering.SteeringView)
    assert "Forward moves are paused by annotation" in answer.message


@pytest.mark.parametrize("action", Action)
async def test_a_release_that_gave_way_is_no_success_of_the_wish(world: World, action: Action) -> None:
    before = await read_release(world.cluster, NAMESPACE, NAME)
    world.apply(NEW_IMAGE.replace("v1.1.0", "v1.2.0"))
    await world.run(100, until=lambda one: one.status.revision not in ("", before.status.revision))
    after = await read_release(world.cluster, NAMESPACE, NAME)
    assert before.status.revision != after.status.revision
    assert not was_obeyed(before, after, Wish(action, "true", 1.0), f"true@{before.status.revision}")


async def test_a_wish_for_a_release_that_has_just_given_way_hits_no_other(world: World) -> None:
    world.apply(NEW_IMAGE.replace("v1.1.0", "v1.2.0"))
    with pytest.raises(Problem, match="has not answered the last change") as refused:
        await asked(world, Action.PROMOTE, "full")
    assert refused.value.code is ExitCode.NOT_OBEYED
    assert all(write.verb != "patch" or write.kind is not Kind.MODEL_RELEASE for write in world.cluster.writes[-1:])


async def test_an_operator_that_does_not_run_is_said_with_the_way_to_take_the_wish_back(world: World) -> None:
    with pytest.raises(Problem, match=r"kubectl annotate mr/yolov8-detect -n vision modelrelease.dev/pause-") as late:
        await asked(world, Action.PAUSE, timeout_seconds=0.05)
    assert late.value.code is ExitCode.TIMED_OUT


def waited(world: World, goal: Goal = Goal.SUCCEEDED, timeout_seconds: float = 30.0) -> Awaitable[wait.WaitView]:
    return wait_for(world.cluster, NAMESPACE, NAME, goal, timeout_seconds)


async def test_waiting_ends_with_success(world: World) -> None:
    view = await beside(world, waited(world))
    assert (Outcome.SUCCEEDED, "v1.1.0") == (view.outcome, view.tag)
    assert world.status.phase is Phase.SUCCEEDED


@pytest.mark.parametrize(("goal", "phase"), [(Goal.SUCCEEDED, Phase.ROLLING_BACK), (Goal.DONE, Phase.ROLLED_BACK)])
async def test_waiting_leaves_at_once_on_a_rollback(world: World, goal: Goal, phase: Phase) -> None:
    world.canary.error_rate = 0.5
    seen: list[Phase] = []

    async def leave() -> wait.WaitView:
        view = await waited(world, goal)
        seen.append(world.status.phase)
        return view

    view = await beside(world, leave())
    assert (Outcome.ROLLED_BACK, "ErrorRateTooHigh", [phase]) == (view.outcome, view.reason, seen)
    assert wait.CODES[view.outcome] is ExitCode.ROLLED_BACK
    assert "has more errors than stable" in view.message


async def test_waiting_is_not_satisfied_by_the_release_before(world: World) -> None:
    assert (await beside(world, waited(world))).outcome is Outcome.SUCCEEDED
    world.canary.error_rate = 1.0
    world.apply(NEW_IMAGE.replace("v1.1.0", "v1.2.0"))
    view = await beside(world, waited(world))
    assert (Outcome.ROLLED_BACK, "v1.2.0") == (view.outcome, view.tag)


async def test_waiting_for_a_failed_release_says_so(world: World) -> None:
    await beside(world, waited(world))
    world.canary.starts = False
    world.apply(NEW_IMAGE.replace("v1.1.0", "v1.2.0"))
    view = await beside(world, waited(world))
    assert (Outcome.FAILED, ExitCode.FAILED) == (view.outcome, wait.CODES[view.outcome])


async def test_who_waits_for_a_release_that_gives_way_is_told(world: World) -> None:
    view = await beside(world, waited(world), lambda: world.apply(NEW_IMAGE.replace("v1.1.0", "v1.2.0")))
    assert (Outcome.SUPERSEDED, "v1.1.0") == (view.outcome, view.tag)


async def test_waiting_has_an_end_and_says_what_it_was_about(world: World) -> None:
    with pytest.raises(Problem, match=r"within 50ms\. Step 2 of 5") as late:
        await waited(world, timeout_seconds=0.05)
    assert late.value.code is ExitCode.TIMED_OUT


async def test_waiting_survives_an_api_server_that_is_away(world: World) -> None:
    failing = iter([False, True, True, False])

    def away(*_: object) -> None:
        if asyncio.current_task() is task and next(failing, False):
            raise Retryable("Could not read: no answer.")

    world.cluster.before_read = away
    task = asyncio.ensure_future(waited(world))
    assert (await beside(world, task)).outcome is Outcome.SUCCEEDED


async def test_waiting_ends_where_the_api_server_does_not_know_who_asks_any_more(world: World) -> None:
    reads = iter([None, None, Retryable("no answer"), Unauthorized("who asks? (HTTP 401)")])

    def runs_out(*_: object) -> None:
        if (error := next(reads)) is not None:
            raise error

    world.cluster.before_read = runs_out
    with pytest.raises(Unauthorized):
        await waited(world)
