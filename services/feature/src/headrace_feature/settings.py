"""Settings of the feature service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class FeatureSettings(ServiceSettings):
    """Settings of the feature service."""

    role: Literal["all", "fold", "join"] = Field("all", description="Fold and assemble, join, or both.")
    batch: int = Field(5_000, description="The largest batch of events read at once.")
    rows: int = Field(200_000, description="Rows of one view and partition held in memory.")
    row_bytes: int = Field(2**30, gt=0, description="Bytes of all rows held in memory, about.")
    web_port: int | None = Field(None, description="Port of Faust's web view; none by default.")
