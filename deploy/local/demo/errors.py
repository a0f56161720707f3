"""What can go wrong in a demonstration; the command line prints the text without a traceback.

DemoError
├── OverdueError   something was not there in time; says what was waited for and what was seen instead
└── KubectlError   kubectl returned an error; carries what it said
"""

from __future__ import annotations


class DemoError(Exception):
    """Root of the tree."""


class OverdueError(DemoError):
    """A wait ran out."""


class KubectlError(DemoError):
    """kubectl ended with an error."""
