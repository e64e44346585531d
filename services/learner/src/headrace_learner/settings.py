"""Settings of a learner process."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class LearnerSettings(ServiceSettings):
    """Settings of one learner process."""

    loop_file: Path = Field(description="The loop's Python file: learners are built from it.")
    checkpoint_seconds: float = Field(30.0, description="The longest time between two checkpoints while examples come.")
