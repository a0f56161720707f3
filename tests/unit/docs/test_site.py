"""The site is built strictly: each link and anchor leads somewhere, and nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_FETCHED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    fetching = {page.name: found for page in pages if (found := _FETCHED.findall(page.read_text(encoding="utf-8")))}
    assert {} == fetching


def test_what_pages_link_to_outside_of_the_documentation_is_published(site: Path) -> None:
    schema = site / "repository" / "crds" / "modelrelease.schema.json"
    assert (ROOT / "crds" / "modelrelease.schema.json").read_text(encoding="utf-8") == schema.read_text(
        encoding="utf-8"
    )
    page = (site / "reference" / "modelrelease.html").read_text(encoding="utf-8")
    assert "../repository/crds/modelrelease.schema.json" in page


def test_every_decision_is_in_the_navigation(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    decisions = [path.stem for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")]
    assert len(decisions) > 5
    assert [] == [name for name in decisions if f"decisions/{name}.html" not in page]
