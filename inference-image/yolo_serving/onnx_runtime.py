"""ONNX Runtime with its telemetry off: import `ort` from here and nowhere else.

Since 1.29 the official Linux builds send session details to Microsoft unless ORT_DISABLE_TELEMETRY is set before the
library is loaded (`Privacy.md` in the package). A serving pod talks to its clients and to nobody else.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

__all__ = ["ort"]
