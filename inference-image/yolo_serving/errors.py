"""What can go wrong.

ServingError
├── StartupError            the process must end: its message is the last sentence it says
│   ├── BadSetting          an environment variable has a value that cannot be used
│   ├── ModelNotUsable      the model file is missing, unreadable or no YOLOv8 detector
│   └── ProviderMissing     the execution provider that was asked for is not there
└── Refused                 this request cannot be served; the status says whose fault it is
    ├── BadImage            400: the body is no picture that can be decoded
    ├── TooLarge            413: more bytes or pixels than allowed
    ├── TooSlow             408: the body did not arrive in time
    ├── WrongContentType    415: the body is declared as something that is not served
    ├── BadTensor           400: an inference request in the open protocol that does not fit the model
    ├── NoSuchModel         404: another model or version than this process serves
    ├── Overloaded          429: the queue is full; come back after `retry_after_seconds`
    └── DeadlineExceeded    503: the answer would have come too late
"""

from __future__ import annotations

from typing import ClassVar


class ServingError(Exception):
    """Root of every error that this package raises on purpose."""


class StartupError(ServingError):
    """The process cannot do its work and must end."""


class BadSetting(StartupError):
    """An environment variable has a value that cannot be used."""


class ModelNotUsable(StartupError):
    """The model file is missing, unreadable or not a YOLOv8 detector."""


class ProviderMissing(StartupError):
    """The execution provider that was asked for is not available."""


class Refused(ServingError):
    """One request cannot be served; `str()` is a sentence for its sender."""

    status: ClassVar[int] = 400

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the refusal."""
        return {}


class BadImage(Refused):
    """The body is no picture that can be decoded."""


class BadTensor(Refused):
    """An inference request in the open protocol that does not fit the model."""


class NoSuchModel(Refused):
    """Another model or version was asked for than this process serves."""

    status = 404


class TooLarge(Refused):
    """More bytes or pixels than allowed."""

    status = 413


class TooSlow(Refused):
    """The body does not come."""

    status = 408


class WrongContentType(Refused):
    """The body is declared as something that is not served."""

    status = 415


class Overloaded(Refused):
    """The queue is full: refused at once, because a longer queue only makes everyone late."""

    status = 429

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self._retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` in seconds."""
        return {"retry-after": str(self._retry_after_seconds)}


class DeadlineExceeded(Refused):
    """The answer would have come too late to be of use."""

    status = 503
