"""When a changed definition answers in place of the one before it."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.definition import ModelDefinition
from headrace.former import definition_of
from headrace.v1.models_pb2 import ModelVersion


@dataclass(frozen=True)
class Takeover:
    """A model's former definition answers until this one has learned enough.

    Attributes
    ----------
    former
        The hash of the definition that answers.
    needed
        The number of examples that is enough.
    all_kept
        Whether all examples that are kept are enough, too: they may be fewer than the former definition has learned.
    remade
        They are made again, so that the log's end is not the last of them before it says so.
    """

    former: str
    needed: int
    all_kept: bool = False
    remade: bool = False

    def is_reached(self, examples: int, at_end: bool = False, whole: bool = False) -> bool:
        """Whether so many examples are enough, given whether the log has been read, and holds all that are kept."""
        last = self.all_kept and at_end and (whole or not self.remade)
        return examples >= self.needed or (last and examples > 0)


def takeover_from(former: ModelVersion, model: ModelDefinition) -> Takeover:
    """The takeover from the version that answers now."""
    if model.takeover is not None:
        return Takeover(former.definition, model.takeover)
    remade = definition_of(former).examples_hash != model.examples_hash
    return Takeover(former.definition, former.examples, all_kept=True, remade=remade)
