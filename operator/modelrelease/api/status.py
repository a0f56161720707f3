"""What a user reads, and all that the operator remembers: the `status` of a ModelRelease.

Nothing that matters lives anywhere else. Times are RFC 3339 with milliseconds in the resource and unix seconds in
memory; weights are per cent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, PlainSerializer, WithJsonSchema

from modelrelease.api.model import Model
from modelrelease.api.snapshot import Snapshot
from modelrelease.api.spec import EnvVar


def parse_time(value: object) -> float:
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{value!r} is not a time")


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds, so that reading it back gives the same float for grid points."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Time = Annotated[
    float,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Phase(StrEnum):
    """Where a release is. Initializing → Stable · Preparing → Progressing ⇄ Paused → Baking → Promoting → Succeeded ·
    RollingBack → RolledBack · Failed."""

    INITIALIZING = "Initializing"
    STABLE = "Stable"
    PREPARING = "Preparing"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    BAKING = "Baking"
    PROMOTING = "Promoting"
    SUCCEEDED = "Succeeded"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"

    @property
    def is_at_rest(self) -> bool:
        """Nothing of a release exists in the cluster beside stable."""
        return self in _AT_REST


_AT_REST = frozenset({Phase.INITIALIZING, Phase.STABLE, Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.FAILED})


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"
    SUPERSEDED = "Superseded"


class ConditionType(StrEnum):
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    CANARY_AVAILABLE = "CanaryAvailable"
    ANALYSIS_HEALTHY = "AnalysisHealthy"
    PAUSED = "Paused"
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One thing that holds, or does not, and since when."""

    type: ConditionType = Field(description="What it is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(max_length=1024)] = Field(description="Why, in one CamelCase word.")
    message: Annotated[str, Field(max_length=32768)] = Field(
        default="", description="Why, and what to do, in a sentence."
    )
    observed_generation: int = Field(default=0, description="metadata.generation that it was found for.")
    last_transition_time: Time = Field(default=0.0, description="When status last changed.")


class ArmStatus(Model):
    """One of the two versions that serve: stable or canary."""

    image: str = Field(default="", description="Image that its Deployment names.")
    digest: str = Field(default="", description="Repository digest that the pods report; empty where they report none.")
    deployment: str = Field(default="", description="Name of its Deployment.")
    replicas: int = Field(default=0, description="Replicas that its Deployment asks for.")
    ready_replicas: int = Field(default=0, description="Replicas that are ready.")


class MetricStatus(Model):
    """One compared metric. Values are a ratio for errors, milliseconds for P99 latency."""

    name: str = Field(default="", description="What is compared.")
    stable: float | None = Field(default=None, description="Stable's value in this step.")
    canary: float | None = Field(default=None, description="The canary's value in this step.")
    stable_requests: int = Field(default=0, description="Requests to stable that were compared.")
    canary_requests: int = Field(default=0, description="Requests to the canary that were compared.")
    rollback_evidence: float = Field(default=0.0, description="0 to 1: share of the evidence that a rollback needs.")
    promotion_evidence: float = Field(default=0.0, description="0 to 1: share of the evidence that the gate needs.")
    message: str = Field(default="", description="What the comparison says, in a sentence.")


class AnalysisStatus(Model):
    """What the comparison of canary and stable says."""

    requests_in_step: int = Field(default=0, description="Requests that the canary answered in this step.")
    metrics: list[MetricStatus] = Field(default_factory=list, description="What is compared, one entry per metric.")
    evaluated_at: Time | None = Field(
        default=None, description="When the figures were last written; they are looked at more often."
    )
    next_step_estimate: str = Field(default="", description="Estimated time to the next step, such as 4m.")


class Handled(Model):
    """An annotation that was acted on, so that a value which somebody puts back does not act twice."""

    name: str = Field(description="Name of the annotation.")
    value: str = Field(description="What it said.")
    generation: int = Field(default=0, description="metadata.generation at that time.")
    revision: str = Field(default="", description="status.revision at that time.")
    step: int = Field(default=0, description="Step at that time.")
    at: Time = Field(default=0.0, description="When it was acted on.")


class HistoryEntry(Model):
    """A release that is over."""

    revision: str = Field(description="Its identity.")
    image: str = Field(description="Its spec.image.")
    digest: str = Field(default="", description="What its pods reported as repository digest.")
    outcome: Outcome = Field(description="Succeeded, RolledBack, Failed or Superseded.")
    reason: str = Field(description="Why, in one CamelCase word.")
    message: str = Field(default="", description="Why, in a sentence with figures.")
    started_at: Time = Field(description="When it began.")
    finished_at: Time = Field(description="When it was over.")
    duration: str = Field(default="", description="How long it took, such as 12m30s.")


class HeldAutoscaler(Model):
    """stable's HorizontalPodAutoscaler whose minReplicas is held; recorded before it is changed."""

    name: str = Field(description="Name of the HorizontalPodAutoscaler.")
    min_replicas: int = Field(description="What to put back at the end of the release.")
    held_at: int = Field(description="What minReplicas is held at while the release runs.")


class ReleaseStatus(Model):
    """Where the release is, and all that the operator has to remember about it."""

    observed_generation: int = Field(default=0, description="metadata.generation that this status answers.")
    revision: str = Field(default="", description="Identity of the release: hash of image, env, template and retries.")
    tag: str = Field(default="", description="Tag, or shortened digest, of the image that phase and message are about.")
    phase: Phase = Field(
        default=Phase.INITIALIZING,
        description="Initializing, Stable, Preparing, Progressing, Paused, Baking, Promoting, Succeeded, "
        "RollingBack, RolledBack or Failed.",
    )
    message: str = Field(default="", description="What goes on, in a sentence with figures.")
    step: int = Field(default=0, description="Number of the current step, from 1; 0 before the first.")
    steps: int = Field(default=0, description="Number of steps.")
    progress: str = Field(default="", description="Step and number of steps, such as 3/5.")
    weight: int = Field(default=0, description="Weight in per cent that the canary is meant to have.")
    confirmed_weight: int = Field(
        default=0, description="Weight last read back from the VirtualService as it was meant."
    )
    stable: ArmStatus = Field(default_factory=ArmStatus, description="The version that serves in production.")
    canary: ArmStatus = Field(default_factory=ArmStatus, description="The version that is being released.")
    analysis: AnalysisStatus = Field(
        default_factory=AnalysisStatus, description="What the comparison of canary and stable says."
    )
    judge: dict[str, JsonValue] | None = Field(default=None, description="Checkpoint of the judge's state.")
    snapshot: Snapshot | None = Field(
        default=None,
        description="The specification as the release began with it; later edits of strategy and analysis apply to the "
        "next one.",
    )
    stable_template: dict[str, JsonValue] | None = Field(
        default=None, description="Container image and env of stable before promotion; what an abort restores."
    )
    started_at: Time | None = Field(default=None, description="When the release began.")
    step_started_at: Time | None = Field(default=None, description="When the current step began.")
    phase_started_at: Time | None = Field(default=None, description="When the current phase began.")
    held_autoscaler: HeldAutoscaler | None = Field(
        default=None, description="Stable's HorizontalPodAutoscaler while its minReplicas is held."
    )
    holds_again: int = Field(
        default=0, description="How often that minimum was held again because somebody lowered it in this release."
    )
    retries: int = Field(default=0, description="How often a release was asked for again by annotation.")
    uncovered_policies: list[str] = Field(
        default_factory=list, description="Policies that select stable's pods but not the canary's, as Kind/name."
    )
    created_replicas: int | None = Field(
        default=None, description="spec.workload.replicas as last applied to a Deployment that the operator created."
    )
    created_at: Time | None = Field(
        default=None,
        description="When the first version of creation mode was given to stable's Deployment; null once it serves.",
    )
    capacity: int = Field(default=0, description="Canary pods that the step's weight rests on; 0 where not known.")
    stable_size: int = Field(
        default=0,
        description="Most replicas that stable had in this release; the canary's capacity is a share of them.",
    )
    scaled_at: Time | None = Field(
        default=None, description="When the canary was last asked for more pods because stable has more."
    )
    canary_template: str = Field(
        default="", description="Hash of the canary's pod template at its first step; another one is an edit by hand."
    )
    losses: int = Field(default=0, description="How often the canary lost its last available pod in this release.")
    departures: list[Time] = Field(
        default_factory=list,
        description="When pods of the canary were asked to go whose last requests are yet to be judged.",
    )
    fights: int = Field(default=0, description="How often somebody else changed the weights in this release.")
    outcome: Outcome | None = Field(default=None, description="How the release ends or ended.")
    outcome_reason: str = Field(default="", description="Why, in one CamelCase word.")
    outcome_message: str = Field(
        default="", description="Why, in a sentence with figures, while the release is taken back."
    )
    released_revision: str = Field(default="", description="Revision that stable runs.")
    released_image: str = Field(default="", description="spec.image of the release that stable runs.")
    released_env: list[EnvVar] = Field(default_factory=list, description="Variables that releases brought to stable.")
    released_template: str = Field(
        default="", description="Hash of spec.workload.template of the release that stable runs."
    )
    promoted_image: str = Field(default="", description="Image reference, by digest where known, given to stable.")
    approved_step: int = Field(default=0, description="Highest step that a person approved by annotation.")
    paused: bool = Field(default=False, description="Paused by annotation, or after repeated foreign weight changes.")
    paused_reason: str = Field(default="", description="Why it is paused, in one CamelCase word.")
    ever_weighted: bool = Field(default=False, description="Whether the canary was given traffic in this release.")
    last_handled: list[Handled] = Field(
        default_factory=list, description="Annotations that were acted on, so that they do not act twice."
    )
    unknown_annotations: list[str] = Field(
        default_factory=list, description="Annotations of this group that mean nothing, as last announced."
    )
    history: list[HistoryEntry] = Field(default_factory=list, description="The last 10 releases, the newest first.")
    conditions: list[Condition] = Field(
        default_factory=list,
        description="What holds now. Ready, Reconciling and Stalled are those that Argo CD, Flux and Helm read.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )

    @property
    def outcome_sentence(self) -> str:
        """Why the release is taken back, whatever has kept that up since; older operators left it in `message`."""
        return self.outcome_message or self.message

    def condition(self, wanted: ConditionType) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type is wanted), None)


def parse_status(raw: Any) -> ReleaseStatus:
    """Read a status that this operator (or an older version of it) wrote; absent is the initial status."""
    return ReleaseStatus.model_validate(raw or {})


def dump_status(status: ReleaseStatus) -> dict[str, JsonValue]:
    """The status as JSON for the status subresource; empty fields are left out."""
    dumped: dict[str, JsonValue] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped
