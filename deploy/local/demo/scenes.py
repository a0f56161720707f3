"""The play: one release after the other, all through the same long-lived ModelRelease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from demo.manifests import FAULTS_FOLDER
from modelrelease.api.status import Phase

RATE_PER_SECOND: Final = 50.0

# With the defaults this traffic makes a release of about an hour, less of it one of hours; a demonstration has minutes.
# What is scaled down, and from what:
WEIGHTS: Final = (1, 5, 20, 50, 100)
STRATEGY: Final[dict[str, Any]] = {
    "steps": [{"weight": weight, "minDuration": "10s"} for weight in WEIGHTS],  # 1m
    "bakeTime": "20s",  # 5m
    "drainDelay": "5s",  # 30s
    "progressDeadline": "60s",  # 10m
}
ANALYSIS: Final[dict[str, Any]] = {
    "interval": "1s",  # 10s
    "lag": "1s",  # two scrape intervals
    "warmUp": "5s",  # 30s
    "harmBudget": 0.02,  # 0.002
    "errorRate": {"maxRatio": 1.1, "maxIncrease": 0.02},  # 0.001
    "latencyP99": {"maxRatio": 3},  # 1.2
}
SCALED: Final = (
    "Scaled down from about an hour to minutes: minDuration 10s (1m), bakeTime 20s (5m), drainDelay 5s (30s), "
    "progressDeadline 60s (10m), interval 1s (10s), lag 1s, warmUp 5s (30s), harmBudget 0.02 (0.002), "
    "errorRate.maxIncrease 0.02 (0.001), latencyP99.maxRatio 3 (1.2)."
)
STABLE: Final = "v1.0.0"
KNOWN_REQUESTS: Final = 400
"""After so many answers of a young stable its P99 is known. A release that begins earlier waits for that before its
first step, and says meanwhile that the canary is available: one write more."""


VERSIONS: Final = ("v1.0.0", "v1.1.0", "v1.2.0-errors", "v1.2.0-slow", "v1.2.0-crash", "v1.2.0-never-ready")
TURNS_BAD: Final = "v1.2.0-turns-bad"
BREACH_FILE: Final = f"{FAULTS_FOLDER}/errors"


@dataclass(frozen=True, slots=True)
class Steer:
    """An annotation that a person sets some seconds after the release has got to a step."""

    annotation: str
    value: str
    at_step: int
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL for the operator that leads, some seconds after the release has got to a phase and to a step in it."""

    phase: Phase
    after_seconds: float
    at_step: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """How much harm a bad version may do before it is off the air.

    The judge needs a number of bad answers, not a time: at 50 requests/s, 1 % brings one each two seconds, and 20 % ten
    a second. At 20 % the whole may take 5 s (`demo breach` measures that). At 1 %, besides these 5 s, it takes until
    enough bad answers have come: `seconds` is so long that they come in time 99 times in 100 or more often.
    """

    bad_answers: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A release and how it should end."""

    name: str
    title: str
    version: str
    expected: Phase
    patience_seconds: float
    steers: tuple[Steer | Kill, ...] = ()
    """In this order."""
    is_full_course: bool = False
    """Every step is served."""
    is_bad_from_birth: bool = False
    """Bad without failing: a breach begins with the first answer."""
    fails: bool = False
    """The version answers with errors, or its clients get none; all others must not lose a request."""
    gets_traffic: bool = True
    limit: Limit | None = None
    """For versions that are bad."""

    @property
    def ends_with_new_version(self) -> bool:
        return self.expected is Phase.SUCCEEDED

    @property
    def kills(self) -> int:
        """How often the operator is killed in it."""
        return sum(isinstance(steer, Kill) for steer in self.steers)


SCENES: Final = (
    Scene(
        "healthy",
        "v1.1.0 is good: 1, 5, 20, 50, 100 %, then promoted",
        "v1.1.0",
        Phase.SUCCEEDED,
        480,
        is_full_course=True,
    ),
    Scene(
        "errors",
        "v1.2.0-errors answers 500 to everything",
        "v1.2.0-errors",
        Phase.ROLLED_BACK,
        150,
        fails=True,
        limit=Limit(bad_answers=12, seconds=30),  # 4 convince the judge
    ),
    Scene(
        "slow",
        "v1.2.0-slow takes 600 ms longer",
        "v1.2.0-slow",
        Phase.ROLLED_BACK,
        300,
        is_bad_from_birth=True,
        limit=Limit(bad_answers=30, seconds=60),  # about 15 convince it
    ),
    Scene(
        "crash",
        "v1.2.0-crash dies 20 s after it became ready",
        "v1.2.0-crash",
        Phase.ROLLED_BACK,
        240,
        fails=True,
        limit=Limit(bad_answers=60, seconds=50),  # it comes back once, for 20 s
        # At 1 % its clients would see one error on average, and often none.
        steers=(
            Steer("promote", "next", at_step=1, after_seconds=1),
            Steer("promote", "next", at_step=2, after_seconds=1),
        ),
    ),
    Scene(
        "never-ready",
        "v1.2.0-never-ready never wants traffic",
        "v1.2.0-never-ready",
        Phase.FAILED,
        120,
        gets_traffic=False,
    ),
    Scene(
        "promote",
        "back to v1.0.0, promoted in full by annotation; the operator is killed while stable rolls",
        "v1.0.0",
        Phase.SUCCEEDED,
        270,
        steers=(Steer("promote", "full", at_step=1, after_seconds=5), Kill(Phase.PROMOTING, after_seconds=2)),
    ),
    Scene(
        "abort",
        "v1.1.0 once more, aborted by annotation",
        "v1.1.0",
        Phase.ROLLED_BACK,
        180,
        steers=(
            Steer("promote", "next", at_step=1, after_seconds=3),
            Steer("abort", "seen enough", at_step=2, after_seconds=10),
        ),
    ),
)
