"""What a release begins with, kept in status until the next one."""

from __future__ import annotations

from pydantic import Field

from modelrelease.api.model import Model
from modelrelease.api.spec import Analysis, EnvVar, ModelReleaseSpec, Strategy, Traffic, Workload


class Snapshot(Model):
    """The specification as the release began with it: later edits of strategy and analysis apply to the next release,
    and with all of it a release can be ended, or taken back, also when the specification cannot be read any more."""

    strategy: Strategy = Field(description="spec.strategy at the beginning.")
    analysis: Analysis = Field(description="spec.analysis at the beginning.")
    retries: int = Field(default=0, description="status.retries at the beginning.")
    image: str = Field(default="", description="spec.image at the beginning.")
    env: list[EnvVar] = Field(default_factory=list, description="spec.env at the beginning.")
    workload: Workload | None = Field(default=None, description="spec.workload at the beginning.")
    traffic: Traffic = Field(default_factory=Traffic, description="spec.traffic at the beginning.")

    @property
    def spec(self) -> ModelReleaseSpec | None:
        """The specification at the beginning; None where an older operator wrote down less."""
        if self.workload is None:
            return None
        return ModelReleaseSpec(
            image=self.image,
            env=self.env,
            workload=self.workload,
            traffic=self.traffic,
            strategy=self.strategy,
            analysis=self.analysis,
        )


def snapshot_of(spec: ModelReleaseSpec, retries: int) -> Snapshot:
    """What a release begins with."""
    return Snapshot(
        strategy=spec.strategy,
        analysis=spec.analysis,
        retries=retries,
        image=spec.image,
        env=spec.env,
        workload=spec.workload,
        traffic=spec.traffic,
    )
