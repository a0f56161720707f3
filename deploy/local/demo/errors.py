"""What can go wrong in a demonstration; the command line prints the text without a traceback.

DemoError
├── ExpectationError  the operator or the traffic did not do what was expected: the demonstration failed
├── OverdueError      something was not there in time; says what was waited for and what was seen instead
└── KubectlError      kubectl returned an error; carries what it said
"""

from __future__ import annotations


class DemoError(Exception):
    """Root of the tree."""


class ExpectationError(DemoError):
    """An expectation of a scene does not hold."""


class OverdueError(DemoError):
    """A wait ran out."""


class KubectlError(DemoError):
    """kubectl ended with an error."""
