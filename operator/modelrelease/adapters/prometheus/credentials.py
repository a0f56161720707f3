"""How the operator shows itself to a Prometheus: by files, so that what is replaced while it runs is read anew."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from modelrelease.errors import MetricsUnavailable
from modelrelease.settings import Provider

Stamp = tuple[tuple[int, int, int], ...]
"""Inode, size and time of change of each file: another one means another content."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files of a mounted Secret; None where one is not needed.

    bearer_token_file: a token, read before each query.
    username, password_file: basic authentication; the password is read before each query.
    ca_file: authorities to trust instead of those of the image.
    cert_file, key_file: the client certificate and its key (mTLS).
    """

    bearer_token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @staticmethod
    def of(provider: Provider) -> Credentials:
        """Those that the configuration names."""
        basic = provider.basic_auth
        return Credentials(
            bearer_token_file=provider.bearer_token_file,
            username=basic.username if basic is not None else "",
            password_file=basic.password_file if basic is not None else None,
            ca_file=provider.ca_file,
            cert_file=provider.cert_file,
            key_file=provider.key_file,
        )

    @property
    def certificate(self) -> tuple[str, str] | None:
        """As `requests` wants it."""
        if self.cert_file is None or self.key_file is None:
            return None
        return str(self.cert_file), str(self.key_file)

    def authorization(self) -> dict[str, str]:
        """The header with what the files hold now. Raises MetricsUnavailable."""
        if self.bearer_token_file is not None:
            return {"Authorization": f"Bearer {_read(self.bearer_token_file, 'token')}"}
        if self.password_file is not None:
            pair = f"{self.username}:{_read(self.password_file, 'password')}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
        return {}

    def stamp(self) -> Stamp:
        """What connections that are open were made with: connections made with other files must not be used again.

        Raises MetricsUnavailable.
        """
        files = [path for path in (self.ca_file, self.cert_file, self.key_file) if path is not None]
        try:
            found = [path.stat() for path in files]
        except OSError as error:
            raise MetricsUnavailable(f"A certificate for Prometheus could not be read: {error}") from error
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MetricsUnavailable(f"The {what} for Prometheus could not be read: {error}") from error
