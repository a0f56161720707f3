"""The Events about a ModelRelease."""

from __future__ import annotations

from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page
from modelrelease.cli.reference.meanings import MEANINGS
from modelrelease.cli.reference.reasons import Use, collect, words


def page() -> str:
    """One row per reason."""
    found = collect()
    normal, warning = words(found, Use.NORMAL), words(found, Use.WARNING)
    kinds = {
        word: " or ".join(kind for kind, known in (("Normal", normal), ("Warning", warning)) if word in known)
        for word in sorted(normal | warning)
    }
    return whole_page(
        "Events",
        "operator/modelrelease/rollout and operator/modelrelease/cli/reference/meanings.py",
        "`kubectl events --for mr/yolov8-detect` tells the story of a release. Each Event is a full sentence. Each "
        "is labelled with its revision (`modelrelease.dev/revision`), and one that follows itself is counted up "
        "instead of said again. Kubernetes forgets Events after an hour; "
        "`status.history` keeps the last ten releases.",
        table(
            ("reason", "type", "meaning"),
            ((code(word), kind, MEANINGS.get(word, "")) for word, kind in kinds.items()),
        ),
    )
