"""One line per request, written by the load generator and read by everybody else.

Times are unix seconds of the same machine. A status of 0 stands for a connection that gave no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NOT_PARSED: Final = -1


@dataclass(frozen=True, slots=True)
class Record:
    """What a client saw of one request."""

    due_at: float
    """When the schedule wanted it sent; latency counts from here, so that a stalled client cannot hide a wait."""
    ended_at: float
    status: int
    version: str
    """Header `x-model-version`, empty where nobody answered."""
    upstream: str
    """Header `x-served-by`: the gateway's cluster, which is known also where no pod answered."""
    boxes: int = NOT_PARSED
    """Objects that the model found; NOT_PARSED where the answer was not looked into."""
    shapes: int = 0
    """Objects that are in the picture."""
    problem: str = ""

    @property
    def is_error(self) -> bool:
        """No answer, or a server error. Every request here is valid, so a 4xx is one too."""
        return not 200 <= self.status < 400

    @property
    def milliseconds(self) -> float:
        return (self.ended_at - self.due_at) * 1000


def format_record(record: Record) -> str:
    """One tab-separated line without its end."""
    words = (
        f"{record.due_at:.4f}",
        f"{record.ended_at:.4f}",
        str(record.status),
        record.version,
        record.upstream,
        str(record.boxes),
        str(record.shapes),
        " ".join(record.problem.split()),
    )
    return "\t".join(words)


def parse_record(line: str) -> Record:
    """Inverse of `format_record`; raises ValueError for anything else."""
    due, ended, status, version, upstream, boxes, shapes, problem = line.rstrip("\n").split("\t")
    return Record(float(due), float(ended), int(status), version, upstream, int(boxes), int(shapes), problem)
