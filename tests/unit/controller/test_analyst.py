"""From raw samples to the judge's state: what is asked, what counts, and what a restart changes (nothing)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes import FakeClock, FakeMetrics
from modelrelease.api.snapshot import Snapshot
from modelrelease.api.spec import Analysis
from modelrelease.api.status import Phase, ReleaseStatus
from modelrelease.controller.analyst import Analyst
from modelrelease.controller.case import CHUNK_SECONDS, LONGER_HISTORY
from modelrelease.controller.intake import Pods
from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import MetricAssessment, State, enter_step
from modelrelease.ports import Key, Samples, Senders, Watched
from modelrelease.rollout.analysis import grid_after, grid_before, judge_settings
from modelrelease.rollout.seen import AnalysisSeen, MetricsHealth
from simulation.looks import spec_of

KEY, OTHER = Key("vision", "a"), Key("vision", "b")
WATCHED = Watched("vision", "a", "a-canary", "Istio", ("5xx", "0"))


@dataclass
class Prometheus(FakeMetrics):
    """Remembers what was asked."""

    asked: list[tuple[int, float, float]] = field(default_factory=list)
    keys: list[set[Key]] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    seconds_per_answer: float = 0.0
    longest_seconds: float = math.inf

    async def query(
        self, watched: Mapping[Key, Watched], *, start_seconds: float, end_seconds: float
    ) -> Mapping[Key, Samples]:
        self.asked.append((len(watched), start_seconds, end_seconds))
        self.keys.append(set(watched))
        self.clock.advance(self.seconds_per_answer)
        if end_seconds - start_seconds > self.longest_seconds:
            raise MetricsUnavailable("query processing would load too many samples")
        return await super().query(watched, start_seconds=start_seconds, end_seconds=end_seconds)


class Bench:
    """One release under analysis; a second of traffic at a time, half of it to each arm."""

    def __init__(self, *, interval: str = "1s", warm_up: str = "0s", scrape: float = 1.0, lag: str = "2s") -> None:
        self.clock = FakeClock()
        self.metrics = Prometheus(scrape_interval_seconds=scrape, clock=self.clock)
        self.scrape_seconds = scrape
        self.woken: list[Key] = []
        spec = spec_of(analysis={"interval": interval, "warmUp": warm_up, "lag": lag})
        snapshot = Snapshot(strategy=spec.strategy, analysis=spec.analysis)
        self.status = ReleaseStatus(phase=Phase.PREPARING, revision="r", snapshot=snapshot)
        self.pods = Pods()
        self.restart()

    @property
    def analysis(self) -> Analysis:
        assert self.status.snapshot is not None
        return self.status.snapshot.analysis

    def restart(self) -> None:
        self.analyst = Analyst({"default": self.metrics}, frozenset({"Istio"}), self.clock, self.woken.append)

    def look(self) -> AnalysisSeen:
        return self.analyst.look(KEY, WATCHED, self.status, self.pods, self.clock.now())

    def traffic(self, seconds: int, *, to_canary: int = 5, errors: int = 0) -> None:
        for _ in range(seconds):
            self.metrics.count("a", "stable", 10)
            if to_canary:
                self.metrics.count("a-canary", "canary", to_canary - errors)
                self.metrics.count("a-canary", "canary", errors, code="503")
            self.clock.advance(1.0)
            if self.clock.now() % self.scrape_seconds == 0:
                self.metrics.scrape(self.clock.now())

    async def tick(self) -> AnalysisSeen:
        self.look()
        await self.analyst.tick("default")
        return self.look()

    def enter(self, step: int, state: State, *, settle: float = 0.0) -> None:
        assert self.status.snapshot is not None
        settings = judge_settings(self.status.snapshot.strategy, self.analysis)
        now, interval = self.clock.now(), self.analysis.interval
        at, left = grid_after(now + settle, interval), grid_before(now, interval) if settle else None
        entered = enter_step(state, settings, step=step - 1, at_seconds=at, left_seconds=left)
        changes: dict[str, Any] = {"step": step, "step_started_at": self.clock.now(), "judge": entered.to_json()}
        self.status = self.status.model_copy(update=changes)

    async def begun_slowly(self) -> None:
        """As `begun`, with the history that slow scrapes need."""
        self.traffic(600, to_canary=0)
        state = (await self.tick()).state
        assert state is not None
        self.enter(1, state)

    async def begun(self) -> State:
        """Baseline read and the first step entered."""
        self.traffic(70, to_canary=0)
        seen = await self.tick()
        assert seen.state is not None
        self.enter(1, seen.state)
        return seen.state


async def test_the_baseline_is_asked_for_once_and_no_traffic_of_the_canary_is_in_it() -> None:
    bench = Bench()
    state = await bench.begun()
    now = bench.clock.now()
    assert [(1, now - bench.analysis.baseline - 5, now)] == bench.metrics.asked
    assert (-1, now - 2) == (state.step, state.cursor_seconds)
    assert state.errors.past[1] > 500


@pytest.mark.parametrize(
    ("bursts_in", "is_discounted"),
    [("one pod", True), ("both pods", False), ("no pods", False), ("an answer that does not come", False)],
)
async def test_bursts_in_single_pods_of_stable_discount_the_evidence(bursts_in: str, is_discounted: bool) -> None:
    """What hits all pods at once is a bad moment for everybody and no reason to doubt a difference between arms."""
    bench = Bench()
    pods = ("a-1", "a-2") if bursts_in != "no pods" else ()
    bench.metrics.problem_of_pods = "too many samples" if bursts_in == "an answer that does not come" else ""
    for second in range(120):
        bench.metrics.count("a", "stable", 100)
        for pod in pods:
            is_bad = second % 20 < 2 and (bursts_in != "one pod" or pod == pods[second // 20 % 2])
            bench.metrics.count_pod("a", pod, 5, code="503" if is_bad else "200")
            bench.metrics.count_pod("a", pod, 45)
        bench.clock.advance(1.0)
        bench.metrics.scrape(bench.clock.now())
    state = (await bench.tick()).state
    assert state is not None
    assert is_discounted is (state.errors.dispersion > 2)
    assert 1.0 == state.latency.dispersion
    assert len(bench.metrics.asked) == 1


async def test_pods_that_are_scraped_at_different_moments_are_compared_all_the_same() -> None:
    bench = Bench(interval="10s", scrape=15.0, lag="30s")
    for second in range(600):
        for number in range(3):
            pod = f"a-{number}"
            bench.metrics.count_pod("a", pod, 5, code="503" if (second // 30) % 3 == number else "200")
            if second % 15 == 5 * number:
                bench.metrics.scrape(bench.clock.now(), target=pod)
        bench.metrics.count("a", "stable", 15)
        if second % 15 == 7:
            bench.metrics.scrape(bench.clock.now(), target="gateway-0")
        bench.clock.advance(1.0)
    state = (await bench.tick()).state
    assert state is not None
    assert state.errors.dispersion > 20


async def test_where_nobody_can_tell_what_to_ask_the_state_is_kept_and_is_no_evidence() -> None:
    bench = Bench()
    await bench.begun()
    bench.traffic(20)
    known = (await bench.tick()).state
    for _ in range(2):
        seen = bench.analyst.blind(KEY, bench.status, "The route cannot be read.")
        assert (MetricsHealth.UNAVAILABLE, None) == (seen.health, seen.assessment)
        assert known == seen.state
        bench.status = bench.status.model_copy(update={"judge": known.to_json() if known else None})
        bench.restart()


async def test_senders_that_are_not_known_are_said_where_metrics_are_fresh() -> None:
    bench = Bench()
    await bench.begun()
    bench.traffic(5)
    guess = replace(WATCHED, senders=Senders(problem="Requests from everywhere are counted."))
    for _ in range(2):
        seen = bench.analyst.look(KEY, guess, bench.status, bench.pods, bench.clock.now())
        await bench.analyst.tick("default")
    assert "Metrics are fresh. Requests from everywhere are counted." == seen.message


async def test_a_young_stable_is_waited_for_until_its_p99_is_known() -> None:
    bench = Bench(warm_up="5s")
    bench.pods = Pods(stable_since_seconds=bench.clock.now())
    bench.traffic(20, to_canary=0)
    seen = await bench.tick()
    assert (MetricsHealth.WAITING, None) == (seen.health, seen.state)
    assert "more requests" in seen.message
    bench.metrics.asked.clear()
    await bench.tick()
    assert [] == bench.metrics.asked  # not again at once
    bench.traffic(60, to_canary=0)
    seen = await bench.tick()
    assert seen.state is not None
    assert 550 <= seen.state.errors.past[1] <= 750  # without its warm-up


async def test_a_young_stable_without_traffic_is_waited_for_as_long_as_the_baseline() -> None:
    bench = Bench()
    bench.pods = Pods(stable_since_seconds=bench.clock.now())
    bench.metrics.count("a", "stable", 10)
    waited = 0.0
    while (seen := await bench.tick()).state is None:
        bench.clock.advance(5.0)
        bench.metrics.scrape(bench.clock.now())
        waited += 5.0
        assert waited < 700, seen.message
    assert waited == bench.analysis.baseline


async def test_more_history_is_read_where_there_is_more_and_the_baseline_has_too_little() -> None:
    bench = Bench(interval="60s", scrape=60.0, lag="60s")
    for _ in range(60):
        bench.metrics.count("a", "stable", 10)
        bench.clock.advance(60.0)
        bench.metrics.scrape(bench.clock.now())
    assert (await bench.tick()).state is None
    seen = await bench.tick()
    assert seen.state is not None
    assert LONGER_HISTORY * 90 < seen.state.errors.past[1] <= 600


async def test_where_more_history_cannot_be_read_the_baseline_is_enough() -> None:
    bench = Bench(interval="60s", scrape=60.0, lag="60s")
    bench.metrics.longest_seconds = 2 * bench.analysis.baseline
    for _ in range(60):
        bench.metrics.count("a", "stable", 10)
        bench.clock.advance(60.0)
        bench.metrics.scrape(bench.clock.now())
    assert (await bench.tick()).state is None
    seen = await bench.tick()
    assert (MetricsHealth.UNAVAILABLE, True) == (seen.health, seen.state is not None)
    assert MetricsHealth.FRESH is (await bench.tick()).health
    assert 2 == sum(end - start > 400 for _, start, end in bench.metrics.asked)


async def test_releases_that_lag_keep_nobody_waiting_and_all_get_their_turn() -> None:
    bench = Bench()
    await bench.begun()
    lagging = [Key("vision", str(number)) for number in range(5)]
    beginning = bench.status.model_copy(update={"judge": None, "step": 0, "step_started_at": None})
    bench.metrics.seconds_per_answer = 3.0
    turns: Counter[Key] = Counter()
    for _ in range(5):
        bench.traffic(3)
        bench.metrics.keys.clear()
        bench.look()
        for key in lagging:
            bench.analyst.look(key, WATCHED, beginning, Pods(stable_since_seconds=1e12), bench.clock.now())
        await bench.analyst.tick("default")
        assert {KEY} == bench.metrics.keys[0]
        assert 3 == len(bench.metrics.keys)
        turns.update(key for keys in bench.metrics.keys[1:] for key in keys)
    assert dict.fromkeys(lagging, 2) == turns


async def test_one_query_answers_for_all_releases() -> None:
    bench = Bench()
    await bench.begun()
    others = [Key("vision", str(number)) for number in range(5)]
    for key in others:
        bench.analyst.look(key, WATCHED, bench.status, Pods(), bench.clock.now())
    bench.traffic(3)
    bench.metrics.asked.clear()
    await bench.tick()
    assert [6] == [number for number, _, _ in bench.metrics.asked]


async def test_slow_scrapes_do_not_tear_the_query_apart() -> None:
    """At 60 s between scrapes every question reaches back five minutes; it is one question all the same."""
    bench = Bench(interval="10s", scrape=60.0, lag="120s")
    bench.traffic(600, to_canary=0)
    state = (await bench.tick()).state
    assert state is not None
    bench.enter(1, state)
    bench.analyst.look(OTHER, WATCHED, bench.status, Pods(), bench.clock.now())
    bench.traffic(60)
    bench.metrics.asked.clear()
    await bench.tick()
    assert [2] == [number for number, _, _ in bench.metrics.asked]


async def test_nobody_is_asked_before_there_can_be_anything_new() -> None:
    bench = Bench(interval="10s")
    await bench.begun()
    bench.traffic(12)
    await bench.tick()
    bench.woken.clear()
    asked = len(bench.metrics.asked)
    bench.clock.advance(0.5)
    await bench.tick()
    assert (asked, []) == (len(bench.metrics.asked), bench.woken)


async def test_restarts_between_any_two_ticks_change_no_bit() -> None:
    calm, shaken = Bench(), Bench()
    for bench in (calm, shaken):
        await bench.begun()
    for second in range(40):
        for bench in (calm, shaken):
            bench.traffic(1, errors=second % 2)
        await calm.tick()
        if second % 7 == 3:
            seen = await shaken.tick()
            assert seen.state is not None
            shaken.status = shaken.status.model_copy(update={"judge": seen.state.to_json()})
            shaken.restart()
    assert (await calm.tick()).state == (await shaken.tick()).state


async def test_what_was_answered_before_a_step_counts_though_it_is_judged_after_it() -> None:
    """And what is answered while the weight changes does not; also where the operator was restarted in between."""
    bench = Bench(lag="4s")
    bench.enter(3, await bench.begun())
    bench.traffic(10)
    state = (await bench.tick()).state
    assert state is not None
    seconds = 3  # the samples of which are not old enough yet
    bench.traffic(seconds, errors=1)
    bench.enter(4, state, settle=1.0)
    bench.restart()
    assert [0, 0] == [metric.requests_canary for metric in _assessed(await bench.tick())]
    bench.traffic(1, errors=5)
    bench.traffic(2)
    between = (await bench.tick()).state
    assert between is not None
    assert (2, seconds - 1) == (between.step, between.errors.step.canary_bad)
    bench.restart()
    bench.traffic(6)
    seen = await bench.tick()
    assert seen.state is not None
    stable = 10 * (70 - 5 + 10 + seconds)  # the baseline but for the lag and the first scrape; the step
    assert (3, None, 0, (0, stable)) == (
        seen.state.step, seen.state.transition, seen.state.errors.step.canary_bad, seen.state.errors.past,
    )  # fmt: skip
    assert between.errors.concurrent.log_evidence > state.errors.concurrent.log_evidence


def _assessed(seen: AnalysisSeen) -> tuple[MetricAssessment, ...]:
    assert seen.assessment is not None
    return seen.assessment.metrics


async def test_a_long_gap_is_caught_up_in_pieces_to_the_same_state() -> None:
    calm, away = Bench(), Bench()
    for bench in (calm, away):
        await bench.begun()
    for _ in range(800):
        calm.traffic(1)
        away.traffic(1)
        await calm.tick()
    away.restart()
    healths = []
    for _ in range(4):
        seen = await away.tick()
        healths.append(seen.health)
    assert [MetricsHealth.WAITING, MetricsHealth.FRESH, MetricsHealth.FRESH, MetricsHealth.FRESH] == healths
    assert calm.look().state == seen.state
    assert all(end - start <= CHUNK_SECONDS + 20 for _, start, end in away.metrics.asked)


async def test_a_gap_without_any_sample_is_got_over() -> None:
    """Prometheus itself was away for longer than one piece: there will never be a sample in it."""
    bench = Bench()
    await bench.begun()
    bench.clock.advance(3000)
    bench.traffic(30)
    for _ in range(10):
        seen = await bench.tick()
    assert MetricsHealth.FRESH is seen.health
    assert seen.requests_in_step > 50


@pytest.mark.parametrize("interval", ["1s", "10s"])
async def test_warm_up_counts_in_neither_arm(interval: str) -> None:
    bench = Bench(interval=interval, warm_up="20s", scrape=3.0, lag="6s")
    bench.traffic(120, to_canary=0)
    state = (await bench.tick()).state
    assert state is not None
    bench.enter(1, state)
    bench.traffic(10)
    changed = bench.clock.now()
    bench.pods = Pods(canary_changes_seconds=(changed,))
    for _ in range(19):
        bench.traffic(1, errors=5)
        await bench.tick()
    for _ in range(60):
        bench.traffic(1)
        await bench.tick()
    state = bench.look().state
    assert state is not None
    assert 0 == state.errors.step.canary_bad
    assert state.errors.step.canary > 100
    assert state.errors.step.stable <= 2 * state.errors.step.canary + 40


async def _evicted(*, before: int, after: int) -> AnalysisSeen:
    """A pod of several is asked to go, and its object is gone 5 s later; errors at the proxies before and after."""
    bench = Bench(interval="10s", warm_up="30s", scrape=15.0, lag="30s")
    await bench.begun_slowly()
    bench.traffic(150 - before)
    bench.traffic(before, errors=5)
    await bench.tick()
    ready, asked = bench.pods.canary_changes_seconds, bench.clock.now()
    bench.pods = Pods(canary_changes_seconds=(*ready, asked))
    bench.traffic(5, errors=min(5, after))
    await bench.tick()
    bench.pods = Pods(canary_changes_seconds=ready)
    bench.traffic(10, errors=min(5, after))
    for _ in range(60):
        await bench.tick()
        bench.traffic(5)
    return await bench.tick()


async def test_an_evicted_pod_is_no_evidence_also_when_its_object_is_gone_before_it_is_judged() -> None:
    seen = await _evicted(before=0, after=5)
    assert seen.assessment is not None
    assert (False, 0) == (seen.assessment.rollback, seen.state.errors.step.canary_bad if seen.state else None)
    assert seen.requests_in_step > 500


async def test_what_was_before_a_pod_was_asked_to_go_still_counts() -> None:
    seen = await _evicted(before=60, after=0)
    assert seen.assessment is not None
    assert seen.assessment.rollback


async def test_the_warm_up_of_each_pod_is_left_out_where_another_one_follows_within_the_lag() -> None:
    bench = Bench(interval="10s", warm_up="20s", scrape=15.0, lag="30s")
    await bench.begun_slowly()
    bench.traffic(150)
    await bench.tick()
    first = bench.clock.now()
    bench.pods = Pods(canary_changes_seconds=(first,))
    bench.traffic(20, errors=5)
    await bench.tick()
    bench.pods = Pods(canary_changes_seconds=(first, bench.clock.now()))
    bench.traffic(5, errors=5)
    bench.traffic(15)
    for _ in range(20):
        await bench.tick()
        bench.traffic(5)
    state = bench.look().state
    assert state is not None
    assert 0 == state.errors.step.canary_bad


@pytest.mark.parametrize("is_taken_off", [False, True])
async def test_what_was_judged_without_pods_is_judged_again_with_them(is_taken_off: bool) -> None:
    """To the state that it would have if they had been read all the while; its weight may have been taken off."""
    seeing, blind = Bench(), Bench()
    for bench in (seeing, blind):
        await bench.begun()
    for second in range(60):
        blind.pods = Pods(are_read=second < 10)
        for bench in (seeing, blind):
            bench.traffic(1, errors=5 if 20 <= second < 40 else 0)
            await bench.tick()
    suspected = blind.look()
    assert suspected.assessment is not None
    assert suspected.state is not None
    assert (True, 0) == (suspected.assessment.rollback, suspected.state.errors.step.canary_bad)
    if is_taken_off:
        changes = {"step_started_at": blind.clock.now(), "judge": suspected.state.to_json()}
        blind.status = blind.status.model_copy(update=changes)
    blind.pods = Pods()
    blind.look()
    for _ in range(3):
        seen, expected = await blind.tick(), await seeing.tick()
    assert (expected.assessment, expected.state) == (seen.assessment, seen.state)


HEALTH: dict[str, tuple[Any, MetricsHealth, str]] = {
    "fresh": (lambda bench: bench.traffic(3), MetricsHealth.FRESH, "fresh"),
    "no answer": (
        lambda bench: setattr(bench.metrics, "problem", "connection refused"),
        MetricsHealth.UNAVAILABLE,
        "connection refused",
    ),
    "old samples": (lambda bench: bench.clock.advance(60), MetricsHealth.STALE, "old"),
    "no series": (lambda bench: bench.metrics._samples.clear(), MetricsHealth.STALE, "no samples"),
}


@pytest.mark.parametrize(("happens", "expected", "word"), HEALTH.values(), ids=HEALTH)
async def test_health(happens: Any, expected: MetricsHealth, word: str) -> None:
    bench = Bench()
    await bench.begun()
    bench.traffic(5)
    await bench.tick()
    happens(bench)
    bench.clock.advance(2)
    seen = await bench.tick()
    assert expected is seen.health
    assert word in seen.message


async def test_health_comes_back_with_the_metrics() -> None:
    bench = Bench()
    await bench.begun()
    bench.metrics.problem = "connection refused"
    bench.traffic(30)
    await bench.tick()
    bench.metrics.problem = ""
    bench.traffic(1)
    assert MetricsHealth.FRESH is (await bench.tick()).health


def test_before_the_first_answer_it_waits() -> None:
    seen = Bench().look()
    assert (MetricsHealth.WAITING, None) == (seen.health, seen.state)


@pytest.mark.parametrize("damage", [{"v": 999}, {"v": 4, "at": 0}])
async def test_a_checkpoint_of_another_version_begins_anew_in_its_step(damage: dict[str, Any]) -> None:
    bench = Bench()
    await bench.begun()
    bench.status = bench.status.model_copy(update={"judge": damage, "step": 3})
    bench.traffic(5)
    state = (await bench.tick()).state
    assert state is not None
    assert 2 == state.step


@pytest.mark.parametrize("damage", [{"v": 1}, {"v": 4, "at": 0}, None], ids=["older", "damaged", "gone"])
@pytest.mark.parametrize("are_pods_new", [False, True], ids=["old-pods", "new-pods"])
@pytest.mark.parametrize(("errors", "is_bad"), [(0, False), (3, True)])
async def test_a_checkpoint_that_is_lost_in_a_long_bake_is_made_again_from_before_it(
    damage: dict[str, Any] | None, errors: int, *, are_pods_new: bool, is_bad: bool
) -> None:
    """Stable has had no request for so long that its newest history is empty."""
    bench = Bench()
    state = await bench.begun()
    assert bench.status.snapshot is not None
    bench.status = bench.status.model_copy(update={"started_at": bench.clock.now() - 60})
    bench.enter(len(bench.status.snapshot.strategy.steps), state)
    for _ in range(3 * round(bench.analysis.baseline)):
        bench.metrics.count("a-canary", "canary", 10 - errors)
        bench.metrics.count("a-canary", "canary", errors, code="503")
        bench.clock.advance(1.0)
        bench.metrics.scrape(bench.clock.now())
    if are_pods_new:
        bench.pods = Pods(stable_since_seconds=bench.clock.now() - 100)
    bench.status = bench.status.model_copy(update={"judge": damage})
    bench.restart()
    for _ in range(10):
        seen = await bench.tick()
        bench.traffic(1, to_canary=0)
    assert seen.state is not None
    assert seen.assessment is not None
    assert seen.state.errors.bake_limit is not None
    assert is_bad is seen.assessment.rollback
    assert seen.state.cursor_seconds > bench.clock.now() - 10


@pytest.mark.parametrize(
    ("provider", "source", "reason", "word"),
    [("else", "Istio", "UnknownProvider", "default"), ("default", "Mine", "UnknownSource", "Istio")],
)
def test_what_is_not_configured_is_named_with_what_is(provider: str, source: str, reason: str, word: str) -> None:
    problem = Bench().analyst.problem(provider, source)
    assert problem is not None
    assert (reason, True) == (problem[0], word in problem[1])


def test_what_is_configured_is_no_problem() -> None:
    assert Bench().analyst.problem("default", "Istio") is None


async def test_what_is_forgotten_is_not_asked_for() -> None:
    bench = Bench()
    await bench.begun()
    bench.analyst.forget(KEY)
    bench.metrics.asked.clear()
    await bench.analyst.tick("default")
    assert [] == bench.metrics.asked


def test_ticks_come_just_after_a_grid_point_is_old_enough() -> None:
    bench = Bench(interval="10s", lag="4s")
    bench.look()
    bench.clock.advance(3.0)
    due = bench.clock.now() + bench.analyst._until_tick("default")
    assert 4.02 == pytest.approx(due % 10)


async def test_a_clock_that_was_ahead_for_a_while_leaves_nothing_out_afterwards() -> None:
    """An hour ahead, the operator finds nothing scraped; the cursor must not get there."""
    bench = Bench()
    await bench.begun()
    bench.clock.jump(3600.0)
    for _ in range(12):
        bench.clock.advance(1.0)
        seen = await bench.tick()
        assert seen.health is not MetricsHealth.FRESH
    bench.clock.jump(-3600.0)
    assert seen.state is not None
    assert bench.clock.now() >= seen.state.cursor_seconds
    for _ in range(30):
        bench.traffic(1, errors=5)
        seen = await bench.tick()
    assert seen.assessment is not None
    assert seen.assessment.rollback
