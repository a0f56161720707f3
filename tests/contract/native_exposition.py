"""A page of metrics with one native histogram, in the only form that Prometheus takes them in: protocol buffers.

Field numbers are those of Prometheus' `io.prometheus.client` (client_model, metrics.proto).
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence

CONTENT_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
SCHEMA = 3
"""Eight buckets per doubling: bucket i ends at 2^(i/8)."""
_HISTOGRAM = 4


def page(name: str, labels: Mapping[str, str], observations: Sequence[float]) -> bytes:
    """The whole answer to a scrape."""
    metric = b"".join(_bytes(1, _text(1, label) + _text(2, value)) for label, value in labels.items())
    family = _text(1, name) + _number(3, _HISTOGRAM) + _bytes(4, metric + _bytes(7, _histogram(observations)))
    return _varint(len(family)) + family


def _histogram(observations: Sequence[float]) -> bytes:
    """A span for each bucket: its distance to the end of the one before, and how many more it holds."""
    buckets = sorted(Counter(math.ceil(math.log2(one) * 2**SCHEMA) for one in observations).items())
    spans, deltas, end, before = b"", b"", 0, 0
    for index, count in buckets:
        spans += _bytes(12, _number(1, _zigzag(index - end)) + _number(2, 1))
        deltas += _varint(_zigzag(count - before))
        end, before = index + 1, count
    total = _number(1, len(observations)) + _double(2, math.fsum(observations))
    return total + _number(5, _zigzag(SCHEMA)) + _double(6, 1e-9) + _number(7, 0) + spans + _bytes(13, deltas)


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
