"""Requests that nobody thought of: whatever they hold, the answer is a sentence and never the server's fault."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms
from serving_process import ServerProcess

CASES = 300
SEED = 20_261
PATHS = ("/predict", "/predict/batch", "/v2/models/tiny/infer", "/v2/models/tiny/versions/v1/infer")
TYPES = (
    "image/jpeg",
    "image/png",
    "application/octet-stream",
    "application/json",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "text/plain; charset=\xff",
    "",
)
VALUES = ("0.5", "1e999", "nan", "-1", "", "%00", "%ff%fe", "300", "301", "9" * 40, "png", "PNG", "true", "0x10", "1_0")
NAMES = ("conf", "iou", "max_det", "render", "other", "conf", "%63onf")
MOST_GROWTH_BYTES = 100 << 20


def pictures(dice: random.Random) -> list[bytes]:
    made = []
    for mode, kind in (
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("I;16", "PNG"),
    ):
        body = BytesIO()
        Image.new(mode, (dice.randint(1, 90), dice.randint(1, 90))).save(body, format=kind)
        made.append(body.getvalue())
    return [*made, *pictures_with_metadata(dice)]


def pictures_with_metadata(dice: random.Random) -> list[bytes]:
    """EXIF with a rotation and tags of any type, XMP, a colour profile; and a JPEG of two pictures (MPO)."""
    image = Image.new("RGB", (dice.randint(1, 90), dice.randint(1, 90)))
    odd = [(dice.randrange(0x10000), dice.randint(1, 13), dice.randint(1, 9), dice.randbytes(4)) for _ in range(4)]
    tags = [(0x0112, 3, 1, b"\6\0\0\0"), (0x0131, 11, 1, b"\0\0\x80\x3f"), *odd]
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags))
    exif += b"".join(struct.pack("<HHI4s", *tag) for tag in tags) + bytes(20)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = []
    for options in (
        {"format": "JPEG", "exif": exif},
        {"format": "PNG", "exif": exif},
        {"format": "JPEG", "xmp": xmp},
        {"format": "JPEG", "icc_profile": profile},
        {"format": "PNG", "icc_profile": profile},
        {"format": "MPO", "save_all": True, "append_images": [image]},
    ):
        body = BytesIO()
        image.save(body, **options)
        made.append(body.getvalue())
    return made


def damaged(dice: random.Random, body: bytes) -> bytes:
    """Cut, repeated, or with some bytes replaced; one in four stays whole."""
    changed = bytearray(body)
    match dice.randrange(4):
        case 0:
            del changed[dice.randrange(len(changed)) :]
        case 1:
            for _ in range(dice.randint(1, 12)):
                changed[dice.randrange(len(changed))] = dice.randrange(256)
        case 2:
            start = dice.randrange(len(changed))
            changed[start:start] = changed[start : start + dice.randint(1, 400)] * dice.randint(1, 30)
        case _:
            pass
    return bytes(changed)


def body_of(dice: random.Random, good: list[bytes]) -> bytes:
    tensor = b'{"inputs":[{"name":"images","datatype":"FP32","shape":[1,3,32,32],"data":[0.5]}]}'
    form = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + dice.choice(good) + b"\r\n--b--\r\n"
    return dice.choice([damaged(dice, dice.choice([*good, tensor, form])), dice.randbytes(dice.randrange(300)), b""])


def query_of(dice: random.Random) -> str:
    pairs = [f"{dice.choice(NAMES)}={dice.choice(VALUES)}" for _ in range(dice.choice([0, 0, 1, 2, 3]))]
    return "?" + dice.choice(["&", "&&", ";"]).join(pairs) if pairs else dice.choice(["", "", "?", "?&", "?=&="])


def resident_bytes(server: ServerProcess) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def test_no_request_is_the_servers_fault(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(MODEL_NAME="tiny", MODEL_VERSION="v1", MAX_PIXELS="1000000")
    dice = random.Random(SEED)  # noqa: S311  # no secret
    good = pictures(dice)
    seen: Counter[int] = Counter()
    before = resident_bytes(server)
    for _ in range(CASES):
        path, content_type = dice.choice(PATHS) + query_of(dice), dice.choice(TYPES)
        headers = {"content-type": content_type} if content_type else {}
        if dice.random() < 0.1:
            headers["inference-header-content-length"] = dice.choice(["0", "7", "-1", "x", "99999999", "9" * 4400])
        body = body_of(dice, good)
        answer = server.request("POST", path, body, headers)
        seen[answer.status] += 1
        assert answer.status < 500, (path, headers, body[:200], answer.body)
        if answer.status >= 400:
            assert answer.error.endswith("."), (path, headers, answer.error)
    assert server.process.poll() is None
    assert {200, 400, 415, 422} <= set(seen)
    assert resident_bytes(server) - before < MOST_GROWTH_BYTES
    assert "request failed" not in server.log
