"""Makes `fakes` importable: pytest puts the folder of this file on the path."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("modelrelease", deadline=None)  # how long an example takes is the machine's business
settings.load_profile("modelrelease")


@pytest.fixture(autouse=True)
def logs_for_the_next() -> Iterator[None]:
    """The plugin silences all logs of its process; the next test may look for some."""
    yield
    structlog.reset_defaults()
    logging.disable(logging.NOTSET)
