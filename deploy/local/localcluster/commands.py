"""Run a command to its end, with a time limit, and say plainly why it failed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from localcluster.errors import CommandFailed


def run(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float = 60.0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Standard output of the command. Raises CommandFailed with the last lines of what the command said."""
    words = [str(word) for word in argv]
    with _failures_named(words, timeout_seconds):
        done = subprocess.run(  # noqa: S603 - the commands of this package, never text of others
            words,
            cwd=folder,
            env=environment,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise CommandFailed(f"`{_short(words)}` failed ({done.returncode}):\n{_last_lines(said)}")
    return done.stdout


def run_into(
    log: Path,
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> None:
    """Run a command whose output is long, or belongs to a process that outlives it: all of it goes to the file."""
    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream, _failures_named(words, timeout_seconds):
        done = subprocess.run(  # noqa: S603 - as above
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            timeout=timeout_seconds,
            check=False,
        )
    if done.returncode != 0:
        raise CommandFailed(f"`{_short(words)}` failed ({done.returncode}):\n{tail(log)}\nfull output: {log}")


def tail(path: Path, lines: int = 20, at_most_bytes: int = 32_768) -> str:
    """The last lines of a text file, or nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - at_most_bytes))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return _last_lines(text, lines)


@contextmanager
def _failures_named(words: Sequence[str], timeout_seconds: float) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise CommandFailed(f"{words[0]} could not be run: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"`{_short(words)}` did not end within {timeout_seconds:.0f} s") from error


def _last_lines(text: str, lines: int = 20) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _short(words: Sequence[str], width: int = 160) -> str:
    text = " ".join(words)
    return text if len(text) <= width else text[: width - 1] + "…"
