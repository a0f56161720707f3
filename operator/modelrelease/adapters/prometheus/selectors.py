"""PromQL for many releases at once, and the way back from a series to its release."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from modelrelease.adapters.prometheus.native import native_name
from modelrelease.adapters.prometheus.sources import SourceDefinition
from modelrelease.ports import Key, Senders, Watched

Arm = Literal["stable", "canary"]
Index = Mapping[tuple[str, str], Sequence[tuple[Key, Arm]]]
"""(namespace or "", value of the arm label) → the arms it counts for."""


@dataclass(frozen=True, slots=True)
class Question:
    """One query: its selector, and whom its answer is for."""

    definition: SourceDefinition
    selector: str
    watched: Mapping[Key, Watched]
    index: Index

    def expression(self, start_seconds: float, end_seconds: float) -> str:
        """Raw samples, as a range vector selector gives them; a millisecond more than asked for, since Prometheus 2
        and 3 differ in whether the left edge belongs to the range."""
        milliseconds = max(1, math.ceil((end_seconds - start_seconds) * 1000)) + 1
        return f"{self.selector}[{milliseconds}ms]"

    def arms_of(self, labels: Mapping[str, str]) -> Sequence[tuple[Key, Arm]]:
        """Whom a series counts for: by its destination, and by its sender where a release counts only some."""
        namespace_label = self.definition.namespace_label
        namespace = labels.get(namespace_label, "") if namespace_label else ""
        found = self.index.get((namespace, labels.get(self.definition.arm_label, "")), ())
        return [(key, arm) for key, arm in found if _is_sent_by(self.definition, labels, self.watched[key].senders)]


def questions(
    definition: SourceDefinition, watched: Mapping[Key, Watched], *, domain: str, releases_per_query: int
) -> list[Question]:
    """Few queries that cover all releases of one source, in a stable order."""
    return [
        _question(definition, dict(chunk), domain, ("stable", "canary"))
        for chunk in _chunks(sorted(watched.items(), key=lambda item: item[0]), releases_per_query)
    ]


def _question(
    definition: SourceDefinition, watched: Mapping[Key, Watched], domain: str, arms: Sequence[Arm]
) -> Question:
    index: dict[tuple[str, str], list[tuple[Key, Arm]]] = {}
    for key, one in watched.items():
        namespace = one.namespace if definition.namespace_label else ""
        for arm in arms:
            service = one.stable_service if arm == "stable" else one.canary_service
            value = definition.value_of(service, one.namespace, domain)
            index.setdefault((namespace, value), []).append((key, arm))
    matchers = [
        _one_of("__name__", list(filter(None, _names(definition)))),
        *(f"{label}={_quoted(value)}" for label, value in sorted(definition.fixed_labels.items())),
        _one_of(definition.arm_label, [value for _, value in index]),
    ]
    if definition.namespace_label:
        matchers.append(_one_of(definition.namespace_label, [namespace for namespace, _ in index]))
    senders = [one.senders.workloads for one in watched.values()]
    if definition.sender_label and None not in senders:
        names = {workload.name for workloads in senders for workload in workloads or ()}
        # The empty one is for series without the label.
        matchers.append(_one_of(definition.sender_label, ["", *names]))
    return Question(definition, "{" + ",".join(matchers) + "}", watched, index)


def pods_question(definition: SourceDefinition, watched: Watched, *, domain: str) -> Question | None:
    """A query for what stable's pods report themselves, whoever asked them; None where they do not."""
    if definition.pod_labels is None:
        return None
    by_pod = replace(definition, fixed_labels=definition.pod_labels, sender_label="")
    return _question(by_pod, {Key(watched.namespace, watched.stable_service): watched}, domain, ("stable",))


def _names(definition: SourceDefinition) -> tuple[str, ...]:
    """The histogram is asked for by both names that it can have; it is stored as a classic or as a native one."""
    return definition.requests_metric, definition.buckets_metric, native_name(definition.buckets_metric)


def _is_sent_by(definition: SourceDefinition, labels: Mapping[str, str], senders: Senders) -> bool:
    """Series that do not tell count: metrics are often stored without the labels that nobody looked at before."""
    name = labels.get(definition.sender_label, "") if definition.sender_label else ""
    if senders.workloads is None or not name:
        return True
    namespace = labels.get(definition.sender_namespace_label, "") if definition.sender_namespace_label else ""
    return any(one.name == name and namespace in ("", one.namespace) for one in senders.workloads)


def _one_of(label: str, values: Sequence[str]) -> str:
    """A matcher for any of the values; RE2 anchors it at both ends, and nothing in a value is taken as a pattern."""
    return f"{label}=~{_quoted('|'.join(re.escape(value) for value in sorted(set(values))))}"


def _quoted(text: str) -> str:
    """A PromQL string literal (Prometheus documentation, "String literals")."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _chunks(items: Sequence[tuple[Key, Watched]], size: int) -> Iterator[list[tuple[Key, Watched]]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
