"""Every reason that the operator can give has a meaning and, where a person must act, an entry in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modelrelease.api.status import Outcome, Phase
from modelrelease.cli.reference.conditions import PHASES, page
from modelrelease.cli.reference.meanings import CONDITIONS, MEANINGS
from modelrelease.cli.reference.reasons import Use, collect, unresolved, words
from modelrelease.rollout.seen import MetricsHealth

ROOT = Path(__file__).parents[3]
RUNBOOK = ROOT / "docs" / "runbook.md"
HEALTH = {str(MetricsHealth.STALE), str(MetricsHealth.UNAVAILABLE)}
"""Reasons of AnalysisHealthy that are values of an enumeration."""

PASSED_ON = {
    ("controller/workload.py", "_container_trouble", "waiting['reason']"),  # the kubelet's own word
    ("rollout/guard.py", "verdict", "reason"),  # of `blame`, whose words are found
    ("rollout/retreat.py", "_canary", "reason"),  # of the route's problem
    ("rollout/retreat.py", "_end", "str(outcome)"),  # the outcomes are added by name
}
"""Calls with a reason which is a word somewhere else."""


def entries() -> dict[str, str]:
    """Text of the runbook by heading."""
    text = RUNBOOK.read_text(encoding="utf-8")
    parts = re.split(r"^### (\S+)$", text, flags=re.MULTILINE)[1:]
    return {
        heading: re.split(r"^## ", body, flags=re.MULTILINE)[0]
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_reason_has_a_meaning_and_every_meaning_a_reason() -> None:
    said = {reason.word for reason in collect()} | HEALTH
    assert said == set(MEANINGS), "change operator/modelrelease/cli/reference/meanings.py, then run `make docs`"


def test_no_reason_comes_out_of_nowhere() -> None:
    assert unresolved() == PASSED_ON, "write the reason as a word, or say here where its words are found"


@pytest.mark.parametrize("word", sorted(words(collect(), Use.STALLED, Use.ENDED, Use.POD) | HEALTH))
def test_every_reason_at_which_a_person_must_act_has_an_entry_in_the_runbook(word: str) -> None:
    text = entries().get(word, "")
    assert text, f"docs/runbook.md has no heading `### {word}`"
    assert "**Look at**" in text
    assert "**Do**" in text


def test_the_runbook_has_entries_only_for_what_is_said() -> None:
    kubelet = {"ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"}
    found = collect()
    assert set(entries()) - alerts() == words(found, Use.STALLED, Use.ENDED, Use.POD) | HEALTH | kubelet


def alerts() -> set[str]:
    """Names of all alerts below deploy/."""
    found: set[str] = set()
    for path in (ROOT / "deploy").rglob("*.yaml"):
        found |= set(re.findall(r"^\s*- alert: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def test_every_alert_has_an_entry_in_the_runbook() -> None:
    without = {name for name in alerts() if "**Do**" not in entries().get(name, "")}
    assert set() == without, "docs/runbook.md has no complete entry for these alerts"


def test_every_phase_and_condition_is_told() -> None:
    assert set(Phase) == set(PHASES)
    assert all(text.endswith(".") for text in (*PHASES.values(), *CONDITIONS.values(), *MEANINGS.values()))


def test_every_reason_of_a_condition_is_on_the_page() -> None:
    found = collect()
    told = page()
    shown = words(found, Use.CONDITION, Use.STALLED, Use.ENDED, Use.POD) | HEALTH
    assert [] == sorted(word for word in shown if f"| `{word}`" not in told and f"| [`{word}`]" not in told)


def test_the_search_finds_what_is_known_to_be_there() -> None:
    found = collect()
    assert {"ErrorRateTooHigh", "Aborted", "CanaryCrashed", "SelectorUnsupported"} <= words(found, Use.ENDED)
    assert {"VirtualServiceMissing", "Forbidden", "WeightsContested", "InvalidSpec"} <= words(found, Use.STALLED)
    assert {"StepStarted", "Resumed"} <= words(found, Use.NORMAL)
    assert {str(Outcome.FAILED), "WeightChanged"} <= words(found, Use.WARNING)


def test_a_reason_that_is_new_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "rollout").mkdir()
    (tmp_path / "rollout" / "rule.py").write_text(
        "def rule(seen, now):\n"
        "    reason = 'FirstWord' if seen else other\n"
        "    if now:\n"
        "        return retreat(seen, now, reason, '', Outcome.FAILED)\n"
        "    return conclude(seen, now, '', stall=Stall(somewhere.reason, ''))\n"
        "def retreat(seen, now, reason, sentence, outcome): ...\n"
        "def new_helper(seen, reason): return Stall(reason, '')\n"
        "def third(seen): return new_helper(seen, 'SecondWord')\n"
        "def fourth(seen): return 'ThirdWord', f'It is {seen}.'\n",
        encoding="utf-8",
    )
    found = collect(tmp_path)
    assert "FirstWord" in words(found, Use.ENDED)
    assert {"SecondWord", "ThirdWord"} <= words(found, Use.STALLED)
    assert {("rollout/rule.py", "rule", "somewhere.reason")} == unresolved(tmp_path)
