"""From what was seen of a release to its row in report.json, and the complaints where it was not as expected."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo import plot
from demo.audit import Writes
from demo.manifests import Model, virtual_service
from demo.measure import Release
from demo.performance import Performance, Takeover
from demo.records import Record
from demo.report import details, report, shares_table, table
from demo.result import Result, complaints, complaints_about_traffic, summarise
from demo.scenes import SCENES, Kill, Limit, Scene, Steer
from demo.screen import View as ScreenView
from demo.screen import line, panel, sparkline
from demo.traffic import Account
from demo.watch import Version
from modelrelease.api.status import MetricStatus, Phase, ReleaseStatus

MODEL = Model("vision", "vision.test")
ORIGINAL = virtual_service(MODEL)
HEALTHY = Scene("healthy", "a good one", "v2", Phase.SUCCEEDED, 60, is_full_course=True)
BAD = Scene("errors", "a bad one", "v2", Phase.ROLLED_BACK, 60, fails=True, limit=Limit(bad_answers=6, seconds=3))
STEPS = (20, 100)
ABORTED = Scene("abort", "a good one that somebody stops", "v2", Phase.ROLLED_BACK, 60)
KILL = Kill(Phase.PROMOTING, after_seconds=0)
TAKEN_OVER = [Takeover(killed_at=21.0, successor_since=28.5, successor="pod-b_1")]


def split(weight: int) -> dict[str, Any]:
    """The VirtualService at a weight, as the operator writes it."""
    changed = virtual_service(MODEL)
    changed["spec"]["http"][1]["route"] = [
        {"destination": {"host": MODEL.name, "port": {"number": 80}}, "weight": 100 - weight},
        {"destination": {"host": MODEL.canary, "port": {"number": 80}}, "weight": weight},
    ]
    return changed


def serve(since: float, until: float, share: int, *, status: int = 200) -> list[Record]:
    """Ten requests a second; `share` per cent of them, evenly, are answered by v2 with this status."""
    count = round((until - since) * 10)
    is_new = [(i * share) // 100 != ((i + 1) * share) // 100 for i in range(count)]
    times = [since + i / 10 for i in range(count)]
    return [
        Record(at, at + 0.02, status if new else 200, "v2" if new else "v1", "", boxes=1, shapes=1)
        for at, new in zip(times, is_new, strict=True)
    ]


def healthy() -> Performance:
    records = [*serve(0, 10, 0), *serve(10, 20, 20), *serve(20, 36, 100)]
    routes = [Version(10.0, split(20)), Version(20.0, split(100)), Version(30.0, virtual_service(MODEL))]
    return Performance(
        scene=HEALTHY,
        release=Release("v2", MODEL.canary),
        began_at=0.0,
        ended_at=32.0,
        watched_until=36.0,
        records=records,
        weights=[(0.0, 0), (10.0, 20), (20.0, 100), (30.0, 0)],
        status=ReleaseStatus(phase=Phase.SUCCEEDED, message="Released.", outcome_reason="Promoted"),
        told=[],
        routes=routes,
        route_after=virtual_service(MODEL),
    )


def rolled_back(*, lingering: float = 0.0) -> Performance:
    """Fails from 10 s on, weight 0 at 12 s; `lingering` seconds longer the canary goes on answering."""
    records = [*serve(0, 10, 0), *serve(10, 12 + lingering, 20, status=500), *serve(12 + lingering, 20, 0)]
    return dataclasses.replace(
        healthy(),
        scene=BAD,
        ended_at=16.0,
        watched_until=20.0,
        records=records,
        weights=[(0.0, 0), (10.0, 20), (12.0, 0)],
        status=ReleaseStatus(phase=Phase.ROLLED_BACK, message="Too many errors.", outcome_reason="ErrorRateTooHigh"),
        routes=[Version(10.0, split(20)), Version(12.0, virtual_service(MODEL))],
    )


def judged(performance: Performance, writes: int = 20, of_routes: int = 3) -> Result:
    counted = Counter({"update virtualservices": of_routes, "update modelreleases/status": writes - of_routes})
    return summarise(performance, ORIGINAL, Writes(counted, refreshes=0))


def test_a_good_release_has_no_complaint_and_the_row_that_was_agreed() -> None:
    good = healthy()
    result = judged(good)

    assert complaints(result, STEPS) == []
    assert complaints(judged(good, of_routes=4), STEPS) == [], "the fourth puts the route back"
    assert report([result], [0.0], 12.34, {"istio": "1"}) == {
        "releases": [
            {
                "name": "healthy",
                "outcome": "Succeeded",
                "seconds": 32.0,
                "weights": [[0.0, 0.0], [10.0, 20.0], [20.0, 100.0], [30.0, 100.0]],
                "requests": 360,
                "client_errors_stable": 0,
                "client_errors_canary": 0,
                "served_by_canary_after_rollback": 0,
                "breach_to_zero_seconds": None,
                "reason": "Promoted: Released.",
            }
        ],
        "setup_seconds": 12.3,
        "versions": {"istio": "1"},
    }


def test_a_rollback_is_measured_from_the_first_failed_answer() -> None:
    result = judged(rolled_back(), of_routes=3)
    row = result.row(0.0)

    assert complaints(result) == []
    assert row["breach_to_zero_seconds"] == pytest.approx(1.5, abs=0.11)
    keys = ("client_errors_canary", "client_errors_stable", "served_by_canary_after_rollback")
    assert [row[key] for key in keys] == [4, 0, 0]


def changed(performance: Performance, **fields: Any) -> Performance:
    return dataclasses.replace(performance, **fields)


def with_another_timeout() -> dict[str, Any]:
    route = split(20)
    route["spec"]["http"][1]["timeout"] = "9s"
    return route


def test_every_broken_promise_is_a_sentence() -> None:
    good = healthy()
    failed = [dataclasses.replace(record, status=503) for record in good.records[-5:]]
    half_blind = [dataclasses.replace(one, boxes=int(i % 3 == 0)) for i, one in enumerate(good.records)]
    aborted = changed(good, scene=ABORTED, weights=[(0.0, 0), (10.0, 20), (20.0, 0)])
    wrong_share = [*serve(0, 10, 0), *serve(10, 20, 90), *serve(20, 36, 100)]
    cases = [
        (changed(good, status=ReleaseStatus(phase=Phase.ROLLED_BACK)), "ended RolledBack instead of Succeeded"),
        (changed(good, records=[*good.records[:-5], *failed]), "the canary's clients saw 5 errors"),
        (changed(good, records=wrong_share), "at 20 % clients got 9"),
        (changed(good, weights=[(0.0, 0), (20.0, 100), (30.0, 0)]), "instead of [20, 100]"),
        (changed(good, records=[*serve(0, 20, 0), *serve(20, 36, 100)]), "at 20 % no client got the new version"),
        (changed(good, records=good.records[:100] + good.records[200:]), "at 20 % no client got the new version, of 0"),
        (changed(good, routes=[Version(10.0, with_another_timeout())]), "outside the managed split"),
        (changed(good, route_after=split(20)), "not what it was before"),
        (changed(good, route_after=None), "not what it was before"),
        (changed(good, routes=[]), "no version of the VirtualService was seen"),
        (changed(good, records=good.records[:-60]), "at the clients it ended Unknown"),
        (rolled_back(lingering=3), "got 4 requests after the rollback"),
        (rolled_back(lingering=3), "clients got 10 bad answers"),
        (changed(rolled_back(), scene=dataclasses.replace(BAD, limit=Limit(9, 1.0))), "for 1.5 s after it went bad"),
        (changed(rolled_back(), scene=dataclasses.replace(BAD, gets_traffic=False)), "should have got none"),
        (changed(rolled_back(), scene=dataclasses.replace(BAD, fails=False)), "the canary's clients saw 4 errors"),
        (changed(rolled_back(), records=serve(0, 20, 0)), "no client saw the errors"),
        (changed(rolled_back(), records=serve(0, 20, 0)), "nothing was measured"),
        (changed(good, scene=dataclasses.replace(HEALTHY, steers=(KILL, KILL)), takeovers=TAKEN_OVER), "of 2 kills"),
        (changed(good, leftovers=["service/yolov8-detect-canary"]), "there is still service/yolov8-detect-canary"),
        (changed(good, records=half_blind), "pictures the new version found as many objects as are there in only 59"),
        (changed(aborted, records=[*serve(0, 10, 0), *serve(10, 20, 90), *serve(20, 36, 0)]), "at 20 % clients got 9"),
    ]
    for performance, sentence in cases:
        said = complaints(judged(performance), STEPS)
        assert any(sentence in complaint for complaint in said), (sentence, said)
    assert any("was written 5 times for 3" in complaint for complaint in complaints(judged(good, of_routes=5), STEPS))
    assert any("25 times" in complaint for complaint in complaints(judged(good, writes=25), STEPS))


def test_a_share_that_is_within_its_error_only_because_it_is_small_is_not_enough() -> None:
    """Of 90 requests at 1 % none may reach the new version by chance; a step without any shows nothing."""
    small = [(0.0, 0), (10.0, 1), (20.0, 100), (30.0, 0)]
    routes = [Version(10.0, split(1)), Version(20.0, split(100)), Version(30.0, virtual_service(MODEL))]
    nobody = changed(healthy(), weights=small, routes=routes, records=[*serve(0, 20, 0), *serve(20, 36, 100)])
    assert judged(nobody).spans[1].is_as_expected
    assert complaints(judged(nobody), (1, 100)) == [
        "healthy: at 1 % no client got the new version, of 90 requests",
    ]
    somebody = [*serve(0, 10, 0), *serve(10, 20, 1), *serve(20, 36, 100)]
    assert complaints(judged(changed(nobody, records=somebody)), (1, 100)) == []


def test_a_request_that_hung_when_the_release_was_over_is_counted_in_the_end() -> None:
    seen = healthy()
    hung = Record(30.5, 40.5, 0, "", "", problem="TimeoutError: ")
    later = Record(36.5, 36.6, 503, "v1", "")  # of the next release
    assert complaints(judged(seen), STEPS) == []

    completed = seen.completed([*seen.records, later, hung])

    assert completed.records == [*seen.records, hung]
    assert complaints(judged(completed), STEPS) == ["healthy: stable's clients saw 1 errors"]


def test_requests_without_a_record_and_errors_between_releases_are_complained_of() -> None:
    first, second = healthy(), changed(healthy(), began_at=40.0, watched_until=50.0)
    answered = [*serve(0, 36, 100), *serve(37, 50, 100)]
    assert complaints_about_traffic([first, second], answered, len(answered)) == []

    (sentence,) = complaints_about_traffic([first, second], answered, len(answered) + 2)
    assert "of 492 requests that were sent, 490 have a record" in sentence
    before, inside = Record(-1.0, -0.9, 503, "", ""), Record(45.0, 45.1, 500, "v2", "")
    gap = Record(38.0, 48.0, 0, "", "", problem="TimeoutError: ")
    records = [before, *answered, inside, gap]
    (sentence,) = complaints_about_traffic([first, second], records, len(records))
    assert "clients saw 1 errors, like 0 'TimeoutError: '" in sentence


def test_a_release_that_goes_on_after_the_operator_was_killed_has_no_complaint() -> None:
    scene = dataclasses.replace(HEALTHY, steers=(KILL,))
    result = judged(changed(healthy(), scene=scene, takeovers=TAKEN_OVER))
    assert complaints(result, STEPS) == []
    assert details([result], Account(1, 2.0, 3.0))["releases"]["healthy"]["takeover_seconds"] == [7.5]


def test_the_outcome_is_what_clients_got_and_not_what_the_operator_says() -> None:
    lying = changed(rolled_back(), status=ReleaseStatus(phase=Phase.SUCCEEDED))
    assert (judged(lying).outcome, judged(lying).said) == ("RolledBack", "Succeeded")
    nothing = changed(rolled_back(), records=serve(0, 20, 0), scene=dataclasses.replace(BAD, expected=Phase.FAILED))
    assert judged(nothing).outcome == "Failed"
    torn = changed(rolled_back(), records=serve(0, 20, 20))
    assert judged(torn).outcome == "Split"


def test_a_breach_is_measured_also_where_a_person_steers() -> None:
    steered = dataclasses.replace(BAD, steers=(Steer("promote", "next", at_step=1, after_seconds=1),))
    assert judged(changed(rolled_back(), scene=steered)).breach == judged(rolled_back()).breach is not None


def test_every_bad_version_of_the_play_has_a_limit() -> None:
    bad = {scene.name for scene in SCENES if scene.fails or scene.is_bad_from_birth}
    assert {"errors", "slow", "crash"} == bad == {scene.name for scene in SCENES if scene.limit is not None}
    assert [scene.name for scene in SCENES if scene.kills] == ["promote"]


def test_the_picture_and_the_tables_hold_every_release(tmp_path: Path) -> None:
    seen = [changed(healthy(), takeovers=TAKEN_OVER), rolled_back()]
    results = [judged(seen[0]), judged(seen[1], of_routes=2)]
    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))

    plot.draw(seen, tmp_path / "release.png", "caption")
    console.print(table(results))
    console.print(shares_table(results[0]))

    assert (tmp_path / "release.png").read_bytes().startswith(b"\x89PNG")
    text = console.export_text()
    assert "Succeeded" in text
    assert "RolledBack" in text
    assert "20.00 %" in text
    told = details(results, Account(1, 2.0, 3.0))["releases"]["healthy"]
    assert [told[name] for name in ("api_writes", "route_writes", "weight_changes")] == [20, 3, 3]
    console.file.close()


def test_screen_shows_phase_evidence_and_estimate(tmp_path: Path) -> None:
    metric = MetricStatus(name="errorRate", rollback_evidence=0.25, promotion_evidence=0.5)
    status = ReleaseStatus(phase=Phase.PROGRESSING, step=2, steps=5, weight=5, message="Going on.")
    status = status.model_copy(
        update={"analysis": status.analysis.model_copy(update={"metrics": [metric], "next_step_estimate": "40s"})}
    )
    stable, canary = judged(healthy()).stable, judged(healthy()).canary
    view = ScreenView(HEALTHY, status, 12.0, 50.0, 5.0, stable, canary, [0, 1, 50, 100])
    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))

    console.print(panel(view))
    shown = console.export_text()
    console.file.close()

    for text in (line(view), shown):
        for word in ("Progressing", "step 2/5", "5 %", "25%", "50%", "40s"):
            assert word in text
    assert "Going on." in shown


def test_sparkline_shows_the_smallest_share() -> None:
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
