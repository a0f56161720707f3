"""What an image is built from, and a key that changes exactly when that changes."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Build:
    """A Dockerfile, the folder it copies from, and what it is to be called."""

    reference: str
    context: Path
    dockerfile: Path
    arguments: Mapping[str, str] = field(default_factory=dict)


def full_reference(reference: str) -> str:
    """The name that a kubelet makes of what stands in a pod: Docker's rules for short names."""
    first, slash, _ = reference.partition("/")
    if not slash:
        named = f"docker.io/library/{reference}"
    elif "." in first or ":" in first or first == "localhost":
        named = reference
    else:
        named = f"docker.io/{reference}"
    return named if ":" in named.rpartition("/")[2] else f"{named}:latest"


def content_key(build: Build, base: str) -> str:
    """Equal for builds that must give the same image: base, Dockerfile, arguments; names, modes and bytes of files."""
    digest = hashlib.sha256()
    digest.update(json.dumps([base, sorted(build.arguments.items())]).encode())
    digest.update(build.dockerfile.read_bytes())
    for path in context_files(build.context):
        mode = path.lstat().st_mode & 0o777
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        name = path.relative_to(build.context)
        digest.update(f"\0{name}\0{mode:o}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:20]


def context_files(context: Path) -> list[Path]:
    """All files of a build context that its .dockerignore does not take out, in a fixed order."""
    ignore = context / ".dockerignore"
    patterns = ignore.read_text(encoding="utf-8").split("\n") if ignore.exists() else []
    rules = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    return [path for path in sorted(_walk(context)) if not _ignored(path.relative_to(context), rules)]


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name not in {".git", "__pycache__"}:
                yield from _walk(path)
        elif path.is_file() or path.is_symlink():
            yield path


def _ignored(path: Path, rules: list[str]) -> bool:
    """The last rule that matches the path, or a folder above it, decides; `!` takes back."""
    names = [path.as_posix(), *(parent.as_posix() for parent in path.parents if parent.as_posix() != ".")]
    ignored = False
    for rule in rules:
        wanted, pattern = rule.startswith("!"), rule.lstrip("!").strip("/")
        variants = {pattern, pattern.removeprefix("**/")}
        if any(fnmatch.fnmatchcase(name, variant) for name in names for variant in variants):
            ignored = not wanted
    return ignored
