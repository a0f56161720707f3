"""What can go wrong in a demonstration; the command line prints the text without a traceback.

DemoError
├── Unexpected    the operator or the traffic did not do what was expected: the demonstration failed
├── TookTooLong   something was not there in time; says what was waited for and what was seen instead
└── KubectlFailed kubectl returned an error; carries what it said
"""

from __future__ import annotations


class DemoError(Exception):
    """Root of the tree."""


class Unexpected(DemoError):
    """An expectation of a scene does not hold."""


class TookTooLong(DemoError):
    """A wait ran out."""


class KubectlFailed(DemoError):
    """kubectl ended with an error."""
