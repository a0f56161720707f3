"""`build/faults/report.json`: what was tried, how often, under which seeds, and what was wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATH = ROOT / "build" / "faults" / "report.json"
_STARTED = time.monotonic()


def say(text: str) -> None:
    """One line of progress, at once."""
    sys.stdout.write(f"[{time.monotonic() - _STARTED:5.0f} s] {text}\n")
    sys.stdout.flush()


def record(section: str, content: dict[str, Any]) -> None:
    """Put one section into the report; the others stay as they are."""
    PATH.parent.mkdir(parents=True, exist_ok=True)
    report = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=10
    )
    report[section] = {**content, "commit": commit.stdout.strip(), "seconds": round(time.monotonic() - _STARTED)}
    PATH.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
