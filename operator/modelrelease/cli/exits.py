"""With what number the plugin ends, so that pipelines need not read sentences."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 to 9: whether the command could do its work; from 10 on: what it found."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NO_CLUSTER = 3
    FORBIDDEN = 4
    NOT_FOUND = 5
    WRONG_VERSION = 6
    NO_METRICS = 7
    ROLLED_BACK = 10
    FAILED = 11
    SUPERSEDED = 12
    TIMED_OUT = 13
    NOT_OBEYED = 14
    FINDINGS = 15
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done; for wait: the release succeeded",
    ExitCode.ERROR: "something else than what follows went wrong",
    ExitCode.USAGE: "the command line cannot be understood",
    ExitCode.NO_CLUSTER: "the API server cannot be reached, or does not know who asks",
    ExitCode.FORBIDDEN: "who asks lacks a permission",
    ExitCode.NOT_FOUND: "there is no such ModelRelease",
    ExitCode.WRONG_VERSION: "the cluster does not serve the resource in the version of the plugin",
    ExitCode.NO_METRICS: "Prometheus gave no usable answer",
    ExitCode.ROLLED_BACK: "wait: the release was rolled back, or is being so",
    ExitCode.FAILED: "wait: the release failed",
    ExitCode.SUPERSEDED: "wait: the release gave way to a newer one",
    ExitCode.TIMED_OUT: "wait: not over within the time; steering: no answer by the operator",
    ExitCode.NOT_OBEYED: "steering: the operator did not do it, and said why",
    ExitCode.FINDINGS: "plan, check, backtest: something was found that should be mended first",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}
