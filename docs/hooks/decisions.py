"""The decisions in the navigation, without a list that everybody who adds one would have to edit."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add them as the last section, in the order of their numbers."""
    folder = Path(config.docs_dir)
    found = sorted(path.relative_to(folder).as_posix() for path in (folder / "decisions").glob("[0-9]*.md"))
    config.nav = [*(config.nav or []), {"Decisions": found}]
    return config
