"""Run a command to its end, with a time limit, and say plainly why it failed."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster.errors import CommandFailed


def run(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float = 60.0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: str | None = None,
    log: Path | None = None,
) -> str:
    """Standard output of the command.

    With `log`, both streams go to that file instead and the returned text is empty. Raises CommandFailed with the last
    lines of what the command said.
    """
    words = [str(word) for word in argv]
    feed = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        if log is None:
            done = subprocess.run(
                words,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
                **feed,  # type: ignore[call-overload]
            )
            said = done.stderr.strip() or done.stdout.strip()
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w", encoding="utf-8") as stream:
                done = subprocess.run(
                    words,
                    cwd=folder,
                    env=environment,
                    stdout=stream,
                    stderr=stream,
                    text=True,
                    timeout=timeout_seconds,
                    check=False,
                    **feed,  # type: ignore[call-overload]
                )
            said = tail(log)
    except FileNotFoundError as error:
        raise CommandFailed(f"{words[0]} is not installed ({error})") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"`{_short(words)}` did not end within {timeout_seconds:.0f} s") from error
    if done.returncode != 0:
        where = f"\nfull output: {log}" if log else ""
        raise CommandFailed(f"`{_short(words)}` failed ({done.returncode}):\n{_last_lines(said)}{where}")
    return str(done.stdout or "")


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


def _last_lines(text: str, lines: int = 20) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _short(words: Sequence[str], width: int = 160) -> str:
    text = " ".join(words)
    return text if len(text) <= width else text[: width - 1] + "…"
