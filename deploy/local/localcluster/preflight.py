"""What can be known before minutes of building: whether `up` may run here, and whether its ports are to be had."""

from __future__ import annotations

import os

from localcluster import ports
from localcluster.errors import MissingPrerequisite
from localcluster.provision import debian
from localcluster.supervision import Supervision


def require_root(why: str) -> None:
    """Raise MissingPrerequisite, naming also the packages that root would install, unless this is root."""
    if os.geteuid() == 0:
        return
    missing = debian.missing(debian.CLUSTER)
    packages = f" Debian packages that are missing here: {' '.join(missing)}." if missing else ""
    raise MissingPrerequisite(f"{why}: run this as root.{packages}")


def ports_for_missing_parts(supervision: Supervision) -> None:
    """Raise PortTaken where somebody else holds a port that a part which does not run has to have."""
    for part, listens in ports.BY_PART.items():
        # Who runs is asked last: another `up` may have started the part a moment ago, and a part has its record before
        # it listens.
        if not all(map(ports.is_free, listens)) and part not in supervision.running_names():
            ports.require_free(part, listens)
