"""Everything that can go wrong here and that a person can act on.

LocalClusterError
├── MissingPrerequisite   something must be installed first; the message says how
├── PortTaken             another process listens where a part has to
├── PartFailed            a part died or did not get ready; carries the end of its log
└── CommandFailed         a command that was run to its end returned an error or took too long
"""

from __future__ import annotations


class LocalClusterError(Exception):
    """Root of the tree; the command line prints its text without a traceback."""


class MissingPrerequisite(LocalClusterError):
    """Something that this package cannot install by itself."""


class PortTaken(LocalClusterError):
    """A port of the cluster belongs to a process that is not ours."""


class PartFailed(LocalClusterError):
    """A process of the cluster did not get ready in time, or ended."""


class CommandFailed(LocalClusterError):
    """A subprocess returned an error or ran past its time."""
