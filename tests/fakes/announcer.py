"""Events as a list."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelrelease.ports import Announcement, Manifest


@dataclass
class FakeAnnouncer:
    """Keeps what was announced: (name of the release, announcement)."""

    announced: list[tuple[str, Announcement]] = field(default_factory=list)

    async def announce(self, release: Manifest, announcement: Announcement) -> None:
        metadata = release["metadata"]
        assert isinstance(metadata, dict)
        self.announced.append((str(metadata["name"]), announcement))

    @property
    def reasons(self) -> list[str]:
        return [announcement.reason for _, announcement in self.announced]
