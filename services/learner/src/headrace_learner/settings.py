"""Settings of a learner process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from headrace.runtime.settings import ServiceSettings


class LearnerSettings(ServiceSettings):
    """Settings of one learner process."""

    loop_file: Path = Field(description="The loop's Python file: learners are built from it.")
    model: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None, description="The models to learn, separated by commas; all by default."
    )
    checkpoint_seconds: float = Field(30.0, description="The longest time between two checkpoints while examples come.")
    compiled_learners: bool = Field(
        True,
        description="Learn by compiled code the models that have a compiled form; otherwise River learns them all.",
    )

    @field_validator("model", mode="before")
    @classmethod
    def _separate(cls, names: str | Sequence[str] | None) -> tuple[str, ...] | None:
        texts = [names] if isinstance(names, str) else names or ()
        return tuple(name for text in texts for name in text.split(",") if name) or None
