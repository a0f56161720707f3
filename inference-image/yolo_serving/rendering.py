"""Draws detections into their picture, for people."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw

from yolo_serving.detections import Detections

_COLOURS: Final = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240))
_LEAST_SIDE: Final = 320
_MOST_SIDE: Final = 1280
# The fastest: in a noisy picture the default takes ten times as long.
_COMPRESSION: Final = 1


def canvas_of(picture: Image.Image) -> Image.Image:
    """A copy to draw into, small pictures enlarged and large ones shrunk: what drawing costs is bounded."""
    factor = max(1, _LEAST_SIDE // max(1, min(picture.size)))
    # Enlarging a long, narrow picture must not make it huge.
    if max(picture.size) * factor > _MOST_SIDE:
        factor = 1
    shrink = min(1.0, _MOST_SIDE / max(picture.size))
    size = (max(1, round(picture.width * factor * shrink)), max(1, round(picture.height * factor * shrink)))
    return picture.resize(size)


def render(canvas: Image.Image, size: tuple[int, int], detections: Detections, class_names: Sequence[str]) -> bytes:
    """A PNG of the canvas with a frame, name and score for each detection; `size`: of the picture that it shows."""
    scale_x, scale_y = canvas.width / size[0], canvas.height / size[1]
    draw = ImageDraw.Draw(canvas)
    rows = zip(detections.boxes.tolist(), detections.scores.tolist(), detections.classes.tolist(), strict=True)
    for box, score, class_id in rows:
        colour = _COLOURS[class_id % len(_COLOURS)]
        x1, y1, x2, y2 = (value * scale for value, scale in zip(box, (scale_x, scale_y) * 2, strict=True))
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        text = f"{class_names[class_id]} {score:.2f}"
        left, top, right, bottom = draw.textbbox((x1, max(0, y1 - 12)), text)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=colour)
        draw.text((x1, max(0, y1 - 12)), text, fill=(255, 255, 255))
    body = BytesIO()
    canvas.save(body, format="PNG", compress_level=_COMPRESSION)
    return body.getvalue()
