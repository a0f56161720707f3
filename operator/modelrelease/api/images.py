"""Parts of an image reference that people want to see."""

from __future__ import annotations

_SHORT_DIGEST = 12
"""Hexadecimal figures of a digest that `docker images` and `crictl images` show, too."""


def image_tag(image: str) -> str:
    """The tag, else the start of the digest, else `latest`: what tells one release from the next in a narrow column."""
    reference, _, digest = image.partition("@")
    last = reference.rpartition("/")[2]
    tag = last.partition(":")[2]
    if tag:
        return tag
    if digest:
        algorithm, _, figures = digest.partition(":")
        return f"{algorithm}:{figures[:_SHORT_DIGEST]}"
    return "latest" if last else ""
