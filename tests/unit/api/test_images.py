from __future__ import annotations

import pytest

from modelrelease.api.images import image_tag

DIGEST = "sha256:5f9c0d1b2b7d1f1bb2a2b6ee4ac6d4d4d7c5f3a1e0b9c8d7a6f5e4d3c2b1a098"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("harbor.example.com/vision/yolo:v1.2.0-gpu-cu126", "v1.2.0-gpu-cu126"),
        ("registry:5000/yolo:v1", "v1"),
        ("registry:5000/yolo", "latest"),
        ("yolo", "latest"),
        (f"registry:5000/yolo@{DIGEST}", "sha256:5f9c0d1b2b7d"),
        (f"registry:5000/yolo:v1@{DIGEST}", "v1"),
        ("", ""),
    ],
)
def test_a_column_shows_what_tells_releases_apart(image: str, expected: str) -> None:
    assert expected == image_tag(image)
