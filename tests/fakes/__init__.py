"""Hand-written fakes of the ports; `tests/contract` holds them to what the real adapters do."""

from fakes.announcer import FakeAnnouncer
from fakes.clock import FakeClock
from fakes.cluster import FakeCluster, Write
from fakes.lease import FakeLease
from fakes.metrics import FakeMetrics
from fakes.source import FakeSource

__all__ = ["FakeAnnouncer", "FakeClock", "FakeCluster", "FakeLease", "FakeMetrics", "FakeSource", "Write"]
