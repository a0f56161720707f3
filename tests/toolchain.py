"""Ends with 0 where the Go on the PATH is new enough to build the local cluster's parts, else with 1."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

OLDEST = (1, 26)


def is_new_enough(said: str) -> bool:
    """Reads `go1.26.3` as `go env GOVERSION` says it."""
    numbers = re.match(r"go(\d+)\.(\d+)", said)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST


def main() -> int:
    """Command line."""
    found = shutil.which("go")
    if found is None:
        return 1
    said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False, timeout=30)
    return 0 if is_new_enough(said.stdout.strip()) else 1


if __name__ == "__main__":
    sys.exit(main())
