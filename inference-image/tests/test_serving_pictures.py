from __future__ import annotations

import struct
import zlib
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from yolo_serving.errors import BadImage, TooLarge
from yolo_serving.pictures import Letterbox, decode, fill_input, letterbox


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and brings hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def png(width: int, height: int, rows: bytes, *, interlaced: bool = False) -> bytes:
    """An RGB PNG with this raw data: rows that begin with the number of their filter."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    packed = zlib.compress(rows)
    halves = chunk(b"IDAT", packed[:5]) + chunk(b"IDAT", packed[5:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + halves + chunk(b"IEND", b"")


@pytest.mark.parametrize("rows", [1, 40, 399])
def test_a_png_without_its_last_rows_is_refused(rows: int) -> None:
    with pytest.raises(BadImage, match="ends before its last row"):
        decode(png(400, 400, (b"\0" + b"\xff\0\0" * 400) * rows), 200_000)


@pytest.mark.parametrize("colour", [b"\xff\0\0", b"\0\0\0"])
def test_a_png_of_any_colour_has_all_its_rows(colour: bytes) -> None:
    assert decode(png(400, 400, (b"\0" + colour * 400) * 400), 200_000).size == (400, 400)


def test_an_interlaced_png_needs_all_its_passes() -> None:
    # 3 x 3: one pixel in the first pass, the others in passes 4 to 7; passes 2 and 3 are empty.
    passes = [(1, 1), (1, 1), (2, 1), (1, 2), (3, 1)]
    data = b"".join((b"\0" + b"\xff\0\0" * columns) * rows for columns, rows in passes)
    assert decode(png(3, 3, data, interlaced=True), 100).getpixel((1, 1)) == (255, 0, 0)
    with pytest.raises(BadImage, match="ends before its last row"):
        decode(png(3, 3, data[:-10], interlaced=True), 100)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 9)])
def test_black_pngs_of_every_mode_have_all_their_rows(mode: str, size: tuple[int, int]) -> None:
    assert decode(encoded(Image.new(mode, size)), 1000).size == size


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (200, 10, 30), (200, 10, 30)),
        ("L", 77, (77, 77, 77)),
        ("RGBA", (200, 10, 30, 0), (200, 10, 30)),
        ("LA", (77, 0), (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x8000, (128, 128, 128)),
    ],
)
def test_every_png_mode_becomes_rgb(mode: str, colour: int | tuple[int, ...], expected: tuple[int, int, int]) -> None:
    image = decode(encoded(Image.new(mode, (3, 2), colour)), 100)
    assert (image.mode, image.size, image.getpixel((1, 1))) == ("RGB", (3, 2), expected)


def test_palette_with_transparency_keeps_its_colours() -> None:
    palette = Image.new("RGB", (4, 4), (10, 200, 30)).quantize(2)
    image = decode(encoded(palette, transparency=0), 100)
    assert (image.mode, image.getpixel((0, 0))) == ("RGB", (10, 200, 30))


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), 1000)
    red, green, blue = np.asarray(image)[8, 8]
    assert image.mode == "RGB"
    assert red > 230
    assert max(green, blue) < 30


FLOAT = 11


def with_exif(kind: str, *tags: tuple[int, int, int, bytes]) -> bytes:
    """A picture of 32 x 16 pixels with these EXIF tags: number, type, count, four bytes of value."""
    fields = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(20)
    return encoded(Image.new("RGB", (32, 16)), kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_odd_exif_tag_beside_the_orientation_hinders_nothing(kind: str) -> None:
    orientation = (0x0112, 3, 1, b"\6\0\0\0")
    assert decode(with_exif(kind, orientation, (0x0131, FLOAT, 1, b"\0\0\x80\x3f")), 1000).size == (16, 32)


def test_exif_that_cannot_be_read_means_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    body = with_exif("PNG", (0x0112, 3, 1, b"\6\0\0\0"))

    def unreadable(_exif: Image.Exif, _data: bytes) -> None:
        raise AttributeError

    monkeypatch.setattr(Image.Exif, "load", unreadable)
    assert decode(body, 1000).size == (32, 16)


@pytest.mark.filterwarnings("ignore:::PIL")
def test_no_metadata_makes_the_decoder_fail() -> None:
    tags = (0x10E, 0x131, 0x100, 0x11A, 0x128, 0x8769, 0x8825, 0x14A, 0x201, 0x111, 0x2BC, 0x112)
    values = (b"\0\0\x80\x3f", b"\xff" * 4, b"\x1a\0\0\0")
    for tag, kind, value, count in product(tags, range(1, 14), values, (1, 2, 0xFFFF)):
        sizes = {(32, 16), (16, 32)} if tag == 0x112 else {(16, 32)}
        body = with_exif("JPEG", (0x0112, 3, 1, b"\6\0\0\0"), (tag, kind, count, value))
        assert decode(body, 1000).size in sizes


def test_what_nobody_foresaw_is_the_fault_of_the_picture_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_image: Image.Image) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(JpegImageFile, "load", fail)
    with pytest.raises(BadImage, match="ZeroDivisionError"):
        decode(JPEG, 10_000)
    assert "a picture made the decoder fail" in caplog.text


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_as_pillow_has_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(Image.effect_noise((32, 16), 80).convert("RGB"), "PNG", exif=exif)
    with Image.open(BytesIO(body)) as opened:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(opened)), np.asarray(decode(body, 1000)))


def test_exif_rotation_is_applied() -> None:
    image = Image.new("RGB", (32, 16), (0, 0, 0))
    image.paste((255, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the picture is to be shown rotated by 90 degrees clockwise
    upright = decode(encoded(image, "JPEG", exif=exif, quality=95), 1000)
    pixels = np.asarray(upright).astype(int)
    assert upright.size == (16, 32)
    assert pixels[4, 8, 0] > 200
    assert pixels[28, 8, 0] < 50


JPEG = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("body", "phrase"),
    [
        (b"", "empty"),
        (b"\0" * 500, "unknown format"),
        (b"<html></html>", "unknown format"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:30], "not a readable"),
        (encoded(Image.new("RGB", (8, 8)), "GIF"), "unknown format"),
        (png_header(0, 0), "not a readable"),
    ],
)
def test_what_is_no_whole_picture_is_refused(body: bytes, phrase: str) -> None:
    with pytest.raises(BadImage, match=phrase):
        decode(body, 10_000)


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    with pytest.raises(TooLarge, match="20000 x 10000 pixels; at most 1000000"):
        decode(png_header(20_000, 10_000), 1_000_000)
    with pytest.raises(BadImage):
        decode(png_header(100, 100), 10_000)


def test_damaged_pictures_raise_nothing_but_refusals() -> None:
    rng = np.random.default_rng(3)
    bodies = [JPEG, encoded(Image.new("RGB", (64, 64), (1, 2, 3))), encoded(Image.new("P", (64, 64), 3))]
    refused = 0
    for round_number in range(600):
        damaged = bytearray(bodies[round_number % 3])
        for position in rng.integers(0, len(damaged), int(rng.integers(1, 8))):
            damaged[position] = int(rng.integers(256))
        try:
            assert decode(bytes(damaged), 1_000_000).mode == "RGB"
        except (BadImage, TooLarge):
            refused += 1
    assert 100 < refused < 600


def test_letterbox_of_a_wide_picture() -> None:
    pixels, fitted = letterbox(Image.new("RGB", (100, 50), (255, 0, 0)), 64)
    # r = 0.64: 64 x 32, padded by 16 above and below.
    assert fitted == Letterbox(0.64, 0.64, 0, 16, 100, 50)
    assert pixels.shape == (64, 64, 3)
    assert pixels[15].tolist() == [[114, 114, 114]] * 64
    assert pixels[16].tolist() == [[255, 0, 0]] * 64
    assert pixels[47].tolist() == [[255, 0, 0]] * 64
    assert pixels[48].tolist() == [[114, 114, 114]] * 64


def test_letterbox_puts_the_odd_pixel_after() -> None:
    _, fitted = letterbox(Image.new("RGB", (64, 33)), 64)
    # d = 31: round(15.5 - 0.1) = 15 above, 16 below.
    assert (fitted.left, fitted.top) == (0, 15)


def test_letterbox_leaves_a_fitting_picture_alone() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    pixels, fitted = letterbox(Image.fromarray(noise), 64)
    assert np.array_equal(noise, pixels)
    assert fitted == Letterbox(1.0, 1.0, 0, 0, 64, 64)


def test_scaling_samples_four_neighbours_without_smoothing() -> None:
    row = np.array([0, 0, 100, 200, 0, 0, 40, 80], np.uint8)
    image = Image.fromarray(np.repeat(np.repeat(row[None, :, None], 8, 0), 3, 2))
    pixels, _ = letterbox(image, 2)
    # Centres of the two output pixels lie between columns 1|2 and 5|6: (0 + 100) / 2 and (0 + 40) / 2.
    assert pixels[0, :, 0].tolist() == [50, 20]


def test_input_is_planes_of_shares() -> None:
    image = Image.new("RGB", (4, 4), (255, 51, 0))
    pixels, _ = letterbox(image, 4)
    tensor = np.empty((3, 4, 4), np.float32)
    fill_input(pixels, tensor)
    assert [sorted(set(plane.reshape(-1).tolist())) for plane in tensor] == [
        [pytest.approx(1.0)],
        [pytest.approx(0.2)],
        [0.0],
    ]


def test_extreme_shapes_keep_at_least_one_pixel() -> None:
    pixels, fitted = letterbox(Image.new("RGB", (10_000, 1), (9, 9, 9)), 32)
    assert pixels.shape == (32, 32, 3)
    assert (pixels == 9).all(axis=2).sum() == 32
    assert fitted.top == 15


def test_boxes_return_to_the_original_and_stay_inside() -> None:
    fitted = Letterbox(0.5, 0.25, 0, 10, 100, 40)
    boxes = np.array([[10, 12, 30, 15], [-5, 0, 90, 90]], np.float32)
    assert fitted.to_original(boxes).tolist() == [[20, 8, 60, 20], [0, 0, 100, 40]]


def test_whole_sizes_make_the_two_scales_differ() -> None:
    # r = 160 / 161: 120 rows become round(119.25) = 119.
    _, fitted = letterbox(Image.new("RGB", (161, 120)), 160)
    assert (fitted.scale_x, fitted.scale_y) == (160 / 161, 119 / 120)


def test_what_looks_like_scans_in_other_data_does_not_count() -> None:
    whole = encoded(Image.new("RGB", (64, 48), (1, 2, 3)), "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 400) + b"\xff\xda" * 200
    assert decode(whole[:2] + comment + whole[2:] + b"\xff\xda" * 200, 10**6).size == (64, 48)
