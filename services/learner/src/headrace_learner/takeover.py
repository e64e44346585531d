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
        Whether the log's end is enough, too: it holds fewer examples than the former definition has learned.
    """

    former: str
    needed: int
    all_kept: bool = False

    def is_reached(self, examples: int, at_end: bool = False) -> bool:
        """Whether so many examples are enough, given whether the log holds more."""
        return examples >= self.needed or (self.all_kept and at_end and examples > 0)


def takeover_from(former: ModelVersion, model: ModelDefinition) -> Takeover:
    """The takeover from the version that answers now."""
    if model.takeover is not None:
        return Takeover(former.definition, model.takeover)
    kept = definition_of(former).examples_hash == model.examples_hash
    return Takeover(former.definition, former.examples, all_kept=kept)
