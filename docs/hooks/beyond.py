"""Links between the documentation and files of the repository outside of it, which are published below `repository/`.

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
_DOCS = "docs/"
_PUBLISHED = "repository/"


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
        files.append(File.generated(config, _published(path), content=(top / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - by name
    """Point links to where `on_files` has put the files."""
    start = os.path.dirname(page.file.src_uri)  # noqa: PTH120 - an address, not a path

    def moved(match: re.Match[str]) -> str:
        path = _led_to(match["target"], page.file.src_uri)
        return match["target"] if path is None else os.path.relpath(_published(path), start or ".")

    return _LINK.sub(moved, markdown)


def _beyond(markdown: str, source: str) -> Iterator[str]:
    for match in _LINK.finditer(markdown):
        path = _led_to(match["target"], source)
        if path is not None and not path.startswith(_DOCS):
            yield path


def _led_to(target: str, source: str) -> str | None:
    """The path from the repository's top, where it is in it. source: the page's address on the site."""
    inside = source.removeprefix(_PUBLISHED)
    page = inside if inside != source else f"{_DOCS}{source}"
    path = os.path.normpath(f"{os.path.dirname(page)}/{target}")  # noqa: PTH120 - an address, not a path
    return None if path.startswith("..") else path


def _published(path: str) -> str:
    """The address on the site of a file of the repository."""
    return path.removeprefix(_DOCS) if path.startswith(_DOCS) else f"{_PUBLISHED}{path}"
