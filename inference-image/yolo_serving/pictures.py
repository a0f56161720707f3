"""From the bytes of a JPEG or PNG to an upright RGB picture, and from there to the model's square input."""

from __future__ import annotations

import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_serving.errors import BadImage, Refused, TooLarge

log = logging.getLogger(__name__)

_FORMATS: Final = ("JPEG", "PNG")
_PAD_VALUE: Final = 114
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
# Numbers in one pixel, by the colour type in the header (PNG, 11.2.1).
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row of each pass of an interlaced PNG, and the steps between them (PNG, 8.2).
_PNG_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE_BYTES: Final = 1 << 16
_JPEG_START: Final = b"\xff\xd8"
_SCAN_START: Final = b"\xff\xda"
_END_OF_IMAGE: Final = 0xD9
# In entropy-coded data 0xFF is followed by zero or is a restart marker; it may also be repeated to fill up.
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_MOST_SCANS: Final = 100
_MOST_PASSES: Final = 16
_SIXTEEN_BIT_MODES: Final = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_ORIENTATION_TAG: Final = 0x0112
# How to turn what the camera stored so that it is upright (Exif 2.3, 4.6.4, tag 274).
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What pillow and the codecs below it usually raise for damaged files.
_DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# The bytes of one picture: a body, or the part of a form's.
Encoded = bytes | memoryview

# The limit of this module is checked before any pixel is decoded; pillow's own, higher one would only add a warning.
Image.MAX_IMAGE_PIXELS = None
# pillow warns of odd metadata in a picture, each time with other words: neither the log nor memory should grow by that.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was fitted into the model's input.

    `scale_x`, `scale_y`: input pixels per original pixel, a little different because sizes are whole; `left`, `top`:
    padding in input pixels; `width`, `height`: of the original picture after EXIF rotation, in pixels.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int
    width: int
    height: int

    def to_original(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) x1, y1, x2, y2 from input pixels to original pixels, cut at the picture's edges."""
        scales = np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], np.float32)
        moved = (boxes - np.array([self.left, self.top, self.left, self.top], np.float32)) / scales
        limits = np.array([self.width, self.height, self.width, self.height], np.float32)
        clipped: NDArray[np.float32] = np.clip(moved, np.float32(0), limits)
        return clipped


def decode(body: Encoded, max_pixels: int) -> Image.Image:
    """The picture in the body: RGB, upright as EXIF says.

    Raises BadImage for anything that is no whole JPEG or PNG and TooLarge, before a pixel is decoded, when the header
    declares more than `max_pixels` or decoding would go over more than sixteen times as many in several scans.
    """
    # A file of a form is a view of the whole form; codecs read bytes.
    body = bytes(body)
    with _opened(body) as opened:
        pixels = opened.width * opened.height
        if pixels > max_pixels:
            raise TooLarge(
                f"The picture has {opened.width} x {opened.height} pixels; at most {max_pixels} are accepted."
            )
        _require_few_scans(body, min(_MOST_SCANS, _MOST_PASSES * max_pixels // max(1, pixels)))
        opened.load()
        _require_all_rows(body, opened)
        return _rgb(_upright(opened))


def declared_pixels(body: Encoded) -> int:
    """How many pixels the header declares; raises BadImage when there is none."""
    with _opened(body) as opened:
        return opened.width * opened.height


@contextmanager
def _opened(body: Encoded) -> Iterator[Image.Image]:
    """The picture, of which only the header was read; what pillow says within becomes BadImage."""
    if not body:
        raise BadImage("The request body is empty; send the bytes of a JPEG or PNG picture.")
    try:
        with Image.open(BytesIO(body), formats=_FORMATS) as opened:
            yield opened
    except _DECODE_ERRORS as error:
        raise _unreadable(error) from error
    except (Refused, MemoryError):
        raise
    except Exception as error:
        # Whatever a stranger's bytes lead a codec to is the fault of the bytes; the log tells what to look into.
        log.warning("a picture made the decoder fail", exc_info=True)
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> BadImage:
    return BadImage(f"The body is not a readable JPEG or PNG picture ({_reason(error)}).")


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says, or as it is where that cannot be read.

    pillow's own `exif_transpose` writes all of the metadata anew, and fails where a camera gave a tag an odd type.
    """
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION_TAG))
    except Exception as error:  # noqa: BLE001  # the pixels are there; nothing that stands beside them may hide them
        log.debug("unreadable EXIF: %s", _reason(error))
        return image
    return image if turn is None else image.transpose(turn)


def _require_few_scans(body: bytes, most: int) -> None:
    """Each scan of a JPEG goes over the whole picture again; encoders write ten, but a file may repeat one for ever.

    Raises TooLarge. Other data may hold the two bytes by chance, so only where there are many are they looked at.
    """
    if body.startswith(_JPEG_START) and body.count(_SCAN_START) > most and (scans := _scans(body)) > most:
        raise TooLarge(f"The JPEG has {scans} scans; at most {most} are accepted at its size.")


def _require_all_rows(body: bytes, opened: Image.Image) -> None:
    """Raises BadImage for a PNG whose data ends before its last row: pillow leaves the rest of the picture black.

    Where the last row is not black it came, and with it all before it, unless they come in several passes.
    """
    if not body.startswith(_PNG_START):
        return
    width, height = opened.size
    interlaced = bool(opened.info.get("interlace"))
    if not interlaced and any(opened.crop((0, height - 1, width, height)).tobytes()):
        return
    depth, colour_type = body[24:26]
    bits = depth * _PNG_CHANNELS[colour_type]
    passes = _PNG_PASSES if interlaced else ((0, 0, 1, 1),)
    expected = 0
    for left, top, step_x, step_y in passes:
        columns, rows = len(range(left, width, step_x)), len(range(top, height, step_y))
        # Each row begins with the number of its filter; a pass without columns has no rows.
        expected += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    if _inflated_bytes(body, expected) < expected:
        raise BadImage("The PNG ends before its last row.")


def _inflated_bytes(body: bytes, most: int) -> int:
    """How much data a PNG's chunks hold once inflated, as far as `most`."""
    inflater = zlib.decompressobj()
    view = memoryview(body)
    count = 0
    position = len(_PNG_START)
    while position + 8 <= len(body) and count < most:
        size, kind = struct.unpack_from(">I4s", body, position)
        data = view[position + 8 : position + 8 + size] if kind == b"IDAT" else b""
        for start in range(0, len(data), _PIECE_BYTES):
            piece: bytes | memoryview = data[start : start + _PIECE_BYTES]
            while piece and count < most:
                count += len(inflater.decompress(piece, _PIECE_BYTES))
                piece = inflater.unconsumed_tail
        position += 12 + size
    return count


def _scans(body: bytes) -> int:
    """Scans of a JPEG, by its markers (ITU-T T.81, B.1.1)."""
    scans = 0
    position = len(_JPEG_START)
    while marker := _MARKER.search(body, position):
        position = marker.end()
        code = body[position - 1]
        if code == _END_OF_IMAGE:
            break
        if code == _SCAN_START[1]:
            scans += 1
        else:
            # A segment with a length, which may hold another picture: the two bytes count themselves.
            position += int.from_bytes(body[position : position + 2], "big")
    return scans


def _reason(error: Exception) -> str:
    """A short reason without memory addresses or newlines."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown format" if "cannot identify" in text else text[:120]


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode that JPEG and PNG bring (grey, palette, alpha, CMYK, 16 bits) as 8-bit RGB; alpha is dropped."""
    if image.mode in _SIXTEEN_BIT_MODES:
        wide = np.asarray(image)
        return Image.fromarray((wide.astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "RGB":
        return image
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def letterbox(image: Image.Image, side: int) -> tuple[NDArray[np.uint8], Letterbox]:
    """The picture scaled to fit a square and centred on grey: (side, side, 3) uint8 RGB, and how to map boxes back.

    r = min(H/h, W/w); bilinear to round(size x r); padding 114; left and top round(d/2 - 0.1): as ultralytics
    prepares pictures in training and validation. Bilinear without smoothing, as there: an affine transform samples
    the four neighbours of a point, where pillow's `resize` would average a larger area.
    """
    width, height = image.size
    scale = min(side / height, side / width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if (new_width, new_height) != (width, height):
        matrix = (width / new_width, 0.0, 0.0, 0.0, height / new_height, 0.0)
        image = image.transform((new_width, new_height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    left = round((side - new_width) / 2 - 0.1)
    top = round((side - new_height) / 2 - 0.1)
    fitted = Letterbox(new_width / width, new_height / height, left, top, width, height)
    pixels = np.asarray(image)
    if (new_width, new_height) == (side, side):
        return pixels, fitted
    canvas = np.full((side, side, 3), _PAD_VALUE, np.uint8)
    canvas[top : top + new_height, left : left + new_width] = pixels
    return canvas, fitted


def fill_input(pixels: NDArray[np.uint8], row: NDArray[np.float32]) -> None:
    """Writes (side, side, 3) pixels as (3, side, side) in 0..1 into a row of a batch."""
    np.multiply(pixels.transpose(2, 0, 1), np.float32(1 / 255), out=row)
