"""ultralytics and ONNX Runtime with network, telemetry and self-installation switched off.

They read these variables when they are imported: import ultralytics from here and nowhere else.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_configuration = tempfile.mkdtemp(prefix="ultralytics-")
atexit.register(shutil.rmtree, _configuration, ignore_errors=True)
_SETTINGS = {
    "ORT_DISABLE_TELEMETRY": "1",
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_CONFIG_DIR": _configuration,
    "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

from ultralytics import YOLO  # noqa: E402
from ultralytics.data.augment import LetterBox  # noqa: E402
from ultralytics.data.utils import check_det_dataset  # noqa: E402
from ultralytics.nn.tasks import yaml_model_load  # noqa: E402
from ultralytics.utils.ops import scale_boxes  # noqa: E402

__all__ = ["YOLO", "LetterBox", "check_det_dataset", "scale_boxes", "yaml_model_load"]
