"""Links from the documentation to files of the repository outside of it: published below `repository/`.

Pages are written so that their links work where the repository is read as it is; here they are made to work on the
site. Nothing has to be listed: what a page links to is what is published.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<=\]\()(?P<target>\.\./[^)#\s]+)")
_FOLDER = "repository"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside of the documentation's folder."""
    top = Path(config.docs_dir).parent
    wanted = {
        path
        for file in files.documentation_pages()
        for path in _beyond(file.content_string, file.src_uri)
        if (top / path).is_file()
    }
    for path in sorted(wanted):
        files.append(File.generated(config, f"{_FOLDER}/{path}", content=(top / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - by name
    """Point links to where `on_files` has put the files."""

    def moved(match: re.Match[str]) -> str:
        path = _outside(match["target"], page.file.src_uri)
        if path is None:
            return match["target"]
        start = os.path.dirname(page.file.src_uri)  # noqa: PTH120 - an address, not a path
        return os.path.relpath(f"{_FOLDER}/{path}", start or ".")

    return _LINK.sub(moved, markdown)


def _beyond(markdown: str, source: str) -> Iterator[str]:
    for match in _LINK.finditer(markdown):
        path = _outside(match["target"], source)
        if path is not None:
            yield path


def _outside(target: str, source: str) -> str | None:
    """The path from the top folder, where it does not lead back into the documentation."""
    path = os.path.normpath(f"docs/{os.path.dirname(source)}/{target}")  # noqa: PTH120 - an address, not a path
    return None if path.startswith(("docs/", "..")) else path
