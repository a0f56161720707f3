"""The demonstration's package lies outside the operator's; make it importable."""

import sys
from pathlib import Path

for _folder in ("deploy/local", "inference-image"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / _folder))
