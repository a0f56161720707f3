"""The base of everything that is read from or written to a ModelRelease."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

GROUP = "modelrelease.dev"
VERSION = "v1alpha1"
PLURAL = "modelreleases"
KIND = "ModelRelease"


class Model(BaseModel):
    """Immutable, camelCase outside, snake_case inside; unknown fields are ignored, as the API server prunes them."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")
