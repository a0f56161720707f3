"""What the API server refuses beside types and bounds: CEL rules of the CRD.

They live here rather than beside the fields, so that reference and tests can go through them: every rule has an
example that it refuses in `tests/integration/crd`. The default of a field is not there when the API server looks
(see `schema.py`), hence the many `has()`. Rules must be cheap by estimate: the API server refuses a CRD whose rules
could be slow on the longest input that the bounds allow.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelrelease.api.durations import format_duration
from modelrelease.api.spec import Strategy


@dataclass(frozen=True, slots=True)
class Validation:
    """One rule: `path` from the resource's root, with `[]` for the items of a list."""

    path: str
    rule: str
    message: str


_STEP_DEADLINE = format_duration(Strategy.model_fields["step_deadline"].default)
_LEAST_STEP = format_duration(60.0)
_SERVICE_OR_DEPLOYMENT = "(has({0}.service) ? {0}.service : {0}.deployment)"

_PATH_PART = "[a-z0-9]+(([.]|__?|-+)[a-z0-9]+)*"
_IMAGE = (
    "^([a-zA-Z0-9.-]+(:[0-9]+)?/|[[][0-9a-fA-F:]+[]](:[0-9]+)?/)?"
    f"{_PATH_PART}(/{_PATH_PART})*"
    "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z0-9_.+-]+:[0-9a-fA-F]{32,})?$"
)
"""What an image can be called (distribution/reference: registry, path in lower case, tag, digest)."""

VALIDATIONS: tuple[Validation, ...] = (
    Validation(
        "spec.image",
        "!self.contains('://')",
        "an image reference has no scheme: write registry.example.com/name:tag",
    ),
    Validation(
        "spec.image",
        f"self.contains('://') || self.contains(' ') || self.matches('{_IMAGE}')",
        "no image can be called this: write registry.example.com/path/name:tag, or @sha256:… instead of the tag, with "
        "the path in lower case",
    ),
    Validation(
        "spec.workload",
        f"size({_SERVICE_OR_DEPLOYMENT.format('self')}) <= 63",
        "a Service's name has at most 63 characters: give workload.service the name of the stable Service",
    ),
    Validation(
        "spec.workload",
        "self.deployment != oldSelf.deployment || "  # which is refused by itself
        f"{_SERVICE_OR_DEPLOYMENT.format('self')} == {_SERVICE_OR_DEPLOYMENT.format('oldSelf')}",
        "workload.service is immutable: make another ModelRelease for another Service",
    ),
    Validation(
        "spec.workload.deployment",
        "self == oldSelf",
        "workload.deployment is immutable: make another ModelRelease for another Deployment",
    ),
    Validation(
        "spec.workload",
        "!has(oldSelf.template) || (has(self.port) ? self.port : 8000) == (has(oldSelf.port) ? oldSelf.port : 8000)",
        "workload.port is immutable once the operator has created the Service: clients and routes know it",
    ),
    Validation(
        "spec.workload",
        "has(self.template) || (!has(self.replicas) && !has(self.port))",
        "workload.replicas and workload.port are for a Deployment that the operator creates: "
        "give workload.template, too, or remove them",
    ),
    Validation(
        "spec.workload",
        "!has(self.template) || !has(self.container) || "
        "self.template.spec.containers.exists(c, c.name == self.container)",
        "workload.container must be the name of a container in workload.template",
    ),
    Validation(
        "spec.traffic",
        "!has(self.gateways) || size(self.gateways) == 0 || (has(self.hosts) && size(self.hosts) > 0)",
        "traffic.gateways are for a VirtualService that the operator creates: "
        "give traffic.hosts, too, or remove gateways",
    ),
    Validation(
        "spec.strategy.steps",
        "self.map(s, s.weight).isSorted() && self.all(a, self.exists_one(b, b.weight == a.weight))",
        "the weights of strategy.steps must increase strictly: order the steps by weight and use each weight once",
    ),
    Validation(
        "spec.strategy.steps",
        "self.exists(s, s.weight == 100)",
        "the last of strategy.steps must have weight 100: add a step with weight 100",
    ),
    Validation(
        "spec.strategy",
        "!has(self.onStepDeadline) || self.onStepDeadline == 'Hold' || !has(self.steps) || "
        f"self.steps.all(s, duration(has(s.minDuration) ? s.minDuration : '{_LEAST_STEP}') < "
        f"duration(has(self.stepDeadline) ? self.stepDeadline : '{_STEP_DEADLINE}'))",
        "strategy.stepDeadline must be longer than minDuration of every step: "
        "otherwise onStepDeadline applies before a step can end",
    ),
    Validation(
        "spec.strategy.progressDeadline",
        "duration(self) >= duration('1s')",
        "strategy.progressDeadline must be at least 1s: write for example 10m",
    ),
    Validation(
        "spec.strategy.stepDeadline",
        "duration(self) >= duration('1s')",
        "strategy.stepDeadline must be at least 1s: write for example 2h",
    ),
    Validation(
        "spec.analysis.interval",
        "duration(self) >= duration('1s')",
        "analysis.interval must be at least 1s: write for example 10s",
    ),
    Validation(
        "spec.analysis.errorRate.codes",
        "self.exists(c, c == '5xx')",
        "analysis.errorRate.codes must contain 5xx, since the list replaces the default: "
        "write for example [5xx, '0', '429']",
    ),
)
