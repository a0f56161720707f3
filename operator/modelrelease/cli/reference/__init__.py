"""The reference pages of the documentation, made from the code by `python -m modelrelease.cli.generate`."""

from __future__ import annotations

from collections.abc import Callable

from modelrelease.cli.reference import (
    commandline,
    conditions,
    configuration,
    diagram,
    events,
    metrics,
    permissions,
    resource,
    steering,
)

PAGES: dict[str, Callable[[], str]] = {
    "docs/images/phases.svg": diagram.svg,
    "docs/reference/annotations.md": steering.page,
    "docs/reference/command-line.md": commandline.page,
    "docs/reference/conditions.md": conditions.page,
    "docs/reference/configuration.md": configuration.page,
    "docs/reference/events.md": events.page,
    "docs/reference/metrics.md": metrics.page,
    "docs/reference/modelrelease.md": resource.page,
    "docs/reference/permissions.md": permissions.page,
}
"""Path below the top folder, and what writes it."""

__all__ = ["PAGES"]
