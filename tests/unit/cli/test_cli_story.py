"""`watch`, `explain` and `report` of releases that the real controller runs in a simulated world."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from modelrelease.adapters.announcer import EventAnnouncer
from modelrelease.api.status import ConditionType, Phase
from modelrelease.cli.commands import explain, report, watch
from modelrelease.cli.commands.status import PodView, look
from modelrelease.cli.measured import watched_of
from modelrelease.cli.measurements import slices_of, totals
from modelrelease.cli.plots import Frame, Line, plot
from modelrelease.cli.printing import Output, resampled, sparkline
from modelrelease.cli.problems import Problem
from modelrelease.cli.releases import read_release
from modelrelease.cli.story import StoryView, begun, with_events
from simulation import World
from simulation.world import NAME, NAMESPACE
from unit.cli.shown import lines


@pytest.fixture
async def world() -> World:
    made = World()
    made.announcer = EventAnnouncer(made.cluster, made.clock)
    made.restart()
    made.deploy_stable()
    await made.run(60)
    made.apply()
    await made.run(200, until=lambda one: one.weight == 5)
    return made


async def told(world: World, revision: str | None = None) -> StoryView:
    release = await read_release(world.cluster, NAMESPACE, NAME)
    story = await with_events(world.cluster, release, begun(release, revision))
    watched = await watched_of(world.cluster, NAMESPACE, release.spec)
    return story.model_copy(update={"slices": await slices_of(world.metrics, watched, story.span, 1.0)})


async def rolled_back(world: World) -> StoryView:
    world.canary.error_rate = 0.4
    await world.run(200, until=lambda one: one.status.phase is Phase.ROLLED_BACK)
    await world.run(5)
    return await told(world)


async def test_every_decision_is_told_with_its_numbers(world: World) -> None:
    shown = lines(explain.render(await rolled_back(world)))
    text = "\n".join(shown)
    assert shown[0] == "vision/yolov8-detect  v1.1.0  RolledBack  (ErrorRateTooHigh)"
    for reason in ("ReleaseStarted", "StepStarted", "ErrorRateTooHigh", "RolledBack"):
        assert any(line.split()[1:2] == [reason] for line in shown), reason
    assert "v1.1.0 has more errors than stable: error rate" in text
    assert "- The evidence at each look: it is kept only while a release runs" in text


async def test_a_release_that_was_tried_again_is_told_in_full(world: World) -> None:
    """The operator says much of it in the same words as the first time."""
    first = await rolled_back(world)
    world.annotate("retry", "true")
    await world.run(300, until=lambda one: one.status.phase is Phase.PROGRESSING)
    again = await rolled_back(world)
    expected = ["ReleaseStarted", "StepStarted", "ErrorRateTooHigh", "RolledBack"]
    assert expected == [event.reason for event in again.events]
    assert {again.revision} == {event.revision for event in again.events}
    assert first.revision != again.revision
    assert not any("first decisions" in sentence for sentence in again.unknown)


async def test_what_was_measured_agrees_with_what_was_served(world: World) -> None:
    story = await rolled_back(world)
    found = totals(story.slices, story.span)
    (stable, stable_errors), (canary, errors) = found["stable"], found["canary"]
    assert 0 < canary < stable / 10
    assert errors == pytest.approx(0.4, abs=0.25)
    assert stable_errors == 0


async def test_a_release_under_way_is_explained_by_its_evidence(world: World) -> None:
    await world.run(3)
    shown = lines(explain.render(await told(world)))
    assert any(line.startswith("errors for promotion") for line in shown)
    assert any(line.startswith("AnalysisHealthy=True") for line in shown)


async def test_what_keeps_metrics_from_being_compared_is_said_once_and_reads_as_a_block(world: World) -> None:
    story = await told(world)
    errors, latency = story.metrics
    message = "No latency bucket lies near stable's P99, or it had too few requests to tell. Use finer buckets."
    both = [errors, latency.model_copy(update={"message": message})]
    healthy = story.conditions[0].model_copy(update={"type": ConditionType.ANALYSIS_HEALTHY, "message": message})
    shown = lines(explain.render(story.model_copy(update={"metrics": both, "conditions": [healthy]})))
    block = [line for line in shown if "bucket" in line or "too few" in line]
    assert " ".join(" ".join(block).split()) == message
    assert {7} == {len(line) - len(line.lstrip()) for line in block}


async def test_what_is_lost_is_said(world: World) -> None:
    story = await rolled_back(world)
    release = await read_release(world.cluster, NAMESPACE, NAME)
    forgotten = await with_events(world.cluster, replace(release, uid="another"), story)
    assert forgotten.events == []
    assert any("the API server forgets Events" in sentence for sentence in forgotten.unknown)


async def test_an_unknown_revision_is_told_which_there_are(world: World) -> None:
    story = await rolled_back(world)
    with pytest.raises(Problem, match=rf"No release 0000000000 of yolov8-detect is known; there are: {story.revision}"):
        await told(world, "0000000000")


async def test_a_report_loads_nothing_and_escapes_what_it_quotes(world: World) -> None:
    story = await rolled_back(world)
    text = report.page(story.model_copy(update={"message": "<script>alert(1)</script>"}))
    tags = Tags()
    tags.feed(text)
    assert tags.names.count("svg") == 3
    assert "script" not in tags.names
    assert not {"src", "href", "srcset"} & tags.attributes
    assert "url(" not in text
    assert "@import" not in text
    assert "ErrorRateTooHigh" in text
    for start in [index for index in range(len(text)) if text.startswith("<svg", index)]:
        drawn = ET.fromstring(text[start : text.index("</svg>", start) + len("</svg>")])  # noqa: S314 - our own
        paths = [path.get("d") or "" for path in drawn.iter("path")]
        assert any(path.count("L") > 5 for path in paths)
        assert "nan" not in "".join(paths)


async def test_a_report_of_a_release_under_way_says_so(world: World) -> None:
    story = await told(world)
    assert ", runs for " in report.page(story)
    assert ", took " not in report.page(story)


def test_a_plot_shows_a_point_between_gaps() -> None:
    """A path that only moves draws nothing; a line of no length with round caps is a dot."""
    points = [(0.0, None), (10.0, 5.0), (20.0, None)]
    drawn = plot("Errors", [Line("canary", "canary", points)], [], Frame((0.0, 20.0), 10.0, " %"))
    assert re.search(r'd="M[\d.]+ [\d.]+h0"', drawn)
    assert "stroke-linecap:round" in report.STYLE


class Tags(HTMLParser):
    """Names of all elements, and of all attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}


async def test_a_watch_into_a_pipe_has_a_line_for_each_move(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    screen = watch.Lines()
    for _ in range(120):
        screen.show(await look(world.cluster, NAMESPACE, NAME), world.clock.now())
        await world.second()
    shown = [line for line in capsys.readouterr().out.splitlines() if " v1.1.0 " in line and "[info" not in line]
    moves = [line.split(":")[2].partition(" v1.1.0 ")[2] for line in shown]
    assert moves[:4] == [
        "Progressing step 2/5 5 %",
        "Progressing step 3/5 20 %",
        "Progressing step 4/5 50 %",
        "Baking step 5/5 100 %",
    ]
    assert moves[-1] == "Succeeded 0 %"


async def test_a_watch_for_programs_is_a_document_for_each_change(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    view = await look(world.cluster, NAMESPACE, NAME)
    capsys.readouterr()
    screen = watch.Documents(Output.JSON)
    screen.show(view, 0.0)
    screen.show(view, 1.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["phase"] == "Progressing"


async def test_a_watch_on_a_terminal_shows_how_weights_and_rates_moved(world: World) -> None:
    panel = watch.Panel()
    stream = io.StringIO()
    for _ in range(20):
        drawn = panel.drawn(await look(world.cluster, NAMESPACE, NAME), world.clock.now())
        await world.run(2)
    Console(file=stream, width=80, force_terminal=True, color_system=None).print(drawn)
    shown = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert all(len(line) <= 80 for line in shown)
    weights = next(line for line in shown if line.startswith("weight")).split()[1]
    assert (len(weights), weights[0]) == (20, "▁")
    assert len(set(weights)) > 2
    assert any(line.startswith("P99 canary") for line in shown)


def test_sparklines_have_gaps_and_an_own_scale() -> None:
    assert sparkline([0, 50, None, 100], 60, 100) == "▁▅ █"
    assert sparkline([], 60) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert resampled([1, 3, None, 5, None, None, 7], 4) == [2, 5, None, 7]
    assert resampled([1, 2], 4) == [1, 2]


async def test_a_watch_of_many_pods_fits_on_a_screen(world: World) -> None:
    """24 lines with 12 pods on each side, some in trouble: what does not fit is not shown at all."""
    view = await look(world.cluster, NAMESPACE, NAME)
    assert view.canary is not None
    pods = [PodView(name=f"yolov8-{number}", ready=number > 3, trouble="Pending: no node") for number in range(12)]
    many = {"pods": pods, "replicas": 12, "ready_replicas": 8}
    both = {"stable": view.stable.model_copy(update=many), "canary": view.canary.model_copy(update=many)}
    shown = lines([watch.Panel().drawn(view.model_copy(update=both), world.clock.now())])
    assert len(shown) <= 24
    assert shown[-1].startswith("P99 canary")
    assert any(line.startswith("Step 2 of 5") for line in shown)
    assert any("yolov8-0: Pending: no node" in line for line in shown)
    assert not any("yolov8-11" in line for line in shown)


async def test_a_release_that_never_began_is_said_without_a_gap(world: World) -> None:
    release = await read_release(world.cluster, NAMESPACE, NAME)
    fresh = replace(release, status=release.status.model_copy(update={"phase": Phase.STABLE, "history": []}))
    with pytest.raises(Problem, match="No release of yolov8-detect is known; none has begun yet"):
        begun(fresh, None)
