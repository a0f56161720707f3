"""`report`: one page about a release that can be kept, mailed and printed; it loads nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from modelrelease.cli.commands.explain import Revision
from modelrelease.cli.connection import Target, run_connected
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.measurements import Slice, totals
from modelrelease.cli.options import Name, command, note
from modelrelease.cli.plots import Frame, Line, plot, top_of
from modelrelease.cli.printing import Output, lasting, ratio, serialised
from modelrelease.cli.problems import Problem
from modelrelease.cli.prometheus import SYSTEM, OperatorNamespace, ProviderFile, Url, Wanted
from modelrelease.cli.story import StoryView, tell

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#667;--line:#ccd3dc;--stable:#3465a4;--canary:#d9730d;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#9aa4b2;--line:#3a4452;--stable:#7aa7e8;--canary:#f2a65a}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);max-width:920px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}
figure{margin:1.5rem 0}figcaption{font-weight:600}figcaption span{font-weight:400;margin-left:1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .75rem .25rem 0;vertical-align:top;
border-bottom:1px solid var(--line)}td.number{text-align:right;white-space:nowrap}
svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--dim)}path{fill:none;stroke-width:1.8;stroke-linecap:round}
.grid{stroke:var(--line)}.mark{stroke:var(--dim);stroke-dasharray:3 3}
.stable{color:var(--stable);stroke:var(--stable)}.canary{color:var(--canary);stroke:var(--canary)}
figcaption .stable,figcaption .canary{stroke:none}.warning{color:var(--bad)}.dim{color:var(--dim)}
""".strip()


@command
def report(
    target: Target,
    name: Name,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to. Default: NAME-REVISION.html; - is stdout.")
    ] = None,
    revision: Revision = None,
    prometheus: Url = None,
    provider: ProviderFile = None,
    operator_namespace: OperatorNamespace = SYSTEM,
    output: Output = Output.TABLE,
) -> None:
    """Write a page with plots about a release.

    The page loads nothing from anywhere. With -o json or yaml: what it is made of, on standard output.
    """
    story = run_connected(
        target, lambda opened: tell(opened, name, revision, Wanted(prometheus, operator_namespace, provider))
    )
    if output is not Output.TABLE:
        typer.echo(serialised(story, output), nl=False)
        return
    text = page(story)
    if str(out) == "-":
        typer.echo(text, nl=False)
        return
    path = out or Path(f"{story.name}-{story.revision}.html")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Problem(f"{path} cannot be written: {error.strerror}.", ExitCode.USAGE) from error
    note(f"{path} was written.")
    if not story.slices:
        note(f"It has no plots. {story.unknown[-1]}")


def page(story: StoryView) -> str:
    """The whole page."""
    title = f"{story.namespace}/{story.name}: {story.tag}"
    span = story.span
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(span.start))
    lasted = f"{'took' if story.finished_at else 'runs for'} {lasting(span.end - span.start)}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body>',
        f"<h1>{escape(title)}: {escape(story.outcome)}</h1>",
        f'<p class="dim">Began {began}, {lasted}; revision {escape(story.revision)}; {escape(story.image)}</p>',
        f"<p>{escape(story.message)}</p>",
        *(_plots(story) if story.slices else []),
        _totals(story) if story.slices else "",
        _decisions(story) if story.events else "",
        _unknown(story) if story.unknown else "",
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _plots(story: StoryView) -> list[str]:
    slices = story.slices
    span = slices[0].start, slices[-1].end
    marks = [(event.first_at, event.message) for event in story.events if span[0] <= event.first_at <= span[1]]
    share = [Line("canary", "canary", _points(slices, lambda one: _percent(one.canary_share)))]
    errors = _both(slices, lambda one, arm: _percent(getattr(one, arm).error_rate))
    p99 = _both(slices, lambda one, arm: getattr(one, arm).p99_milliseconds)
    return [
        plot("Share of the requests", share, marks, Frame(span, 100.0, " %")),
        plot("Errors", errors, marks, Frame(span, top_of(errors, 0.1), " %")),
        plot("P99 latency", p99, marks, Frame(span, top_of(p99, 1.0), " ms")),
    ]


def _both(slices: list[Slice], value: Callable[[Slice, str], float | None]) -> list[Line]:
    stable = _points(slices, lambda one: value(one, "stable"))
    canary = _points(slices, lambda one: value(one, "canary"))
    return [Line("stable", "stable", stable), Line("canary", "canary", canary)]


def _points(slices: list[Slice], value: Callable[[Slice], float | None]) -> list[tuple[float, float | None]]:
    return [((one.start + one.end) / 2, value(one)) for one in slices]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _totals(story: StoryView) -> str:
    rows = [
        f'<tr><td>{name}</td><td class="number">{requests:,}</td><td class="number">{ratio(errors)}</td></tr>'
        for name, (requests, errors) in totals(story.slices, story.span).items()
    ]
    return f"<h2>In all</h2><table><tr><th>arm</th><th>requests</th><th>errors</th></tr>{''.join(rows)}</table>"


def _decisions(story: StoryView) -> str:
    rows = []
    for event in story.events:
        after = lasting(max(0.0, event.first_at - story.started_at))
        style = ' class="warning"' if event.warning else ""
        rows.append(
            f'<tr><td class="number">+{after}</td><td{style}>{escape(event.reason)}</td>'
            f"<td>{escape(event.message)}</td></tr>"
        )
    return f"<h2>Decisions</h2><table>{''.join(rows)}</table>"


def _unknown(story: StoryView) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in story.unknown)
    return f'<h2>Cannot be told</h2><ul class="dim">{items}</ul>'
