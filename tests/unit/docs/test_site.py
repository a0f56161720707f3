"""The site is built strictly: each link and anchor leads somewhere, and nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_FETCHED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//")


def build(top: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Not `--quiet`, which hides warnings from `--strict`, too."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, cwd=top, capture_output=True, text=True, check=False, timeout=120, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the settings and hooks of this one, a page, and a README beside the documentation."""
    top = tmp_path_factory.mktemp("repository")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:\n-")[0] + "nav: [index.md]\n"
    (top / "mkdocs.yml").write_text(settings, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "hooks", top / "docs" / "hooks")
    (top / "part").mkdir()
    (top / "docs" / "index.md").write_text("# Page\n\n[Part](../part/README.md)\n", encoding="utf-8")
    return top


@pytest.mark.parametrize("link", ["../docs/index.md", "../docs/index.md#page"])
def test_a_link_back_into_the_documentation_leads_to_the_page(small: Path, tmp_path: Path, link: str) -> None:
    (small / "part" / "README.md").write_text(f"# Part\n\n[Back]({link})\n", encoding="utf-8")
    done = build(small, tmp_path)
    assert done.returncode == 0, done.stderr
    (page,) = (tmp_path / "repository" / "part").glob("*.html")
    assert f'href="{link.replace("docs", "..").replace(".md", ".html")}"' in page.read_text(encoding="utf-8")


def test_a_broken_link_fails_the_build(small: Path, tmp_path: Path) -> None:
    (small / "part" / "README.md").write_text("# Part\n\n[Gone](../docs/gone.md)\n", encoding="utf-8")
    done = build(small, tmp_path)
    assert done.returncode != 0
    assert "gone.md" in done.stderr


def test_make_builds_as_strictly_as_this() -> None:
    """What `--quiet` hides does not count for `--strict` either."""
    (line,) = re.findall(r"-m mkdocs build.*", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert "--strict" in line
    assert "--quiet" not in line.partition("#")[0]


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
