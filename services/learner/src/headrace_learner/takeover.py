"""The takeover of a model by a changed definition."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.definition import ModelDefinition
from headrace.engine.former import definition_of
from headrace.v1.models_pb2 import ModelVersion


@dataclass(frozen=True)
class Takeover:
    """A former definition that answers for a model until this one has learned enough.

    Attributes
    ----------
    former
        The hash of the definition that answers until then.
    needed
        The number of examples that the new definition must learn.
    all_kept
        Whether all retained examples suffice, even if they are fewer than `needed`.
    remade
        Whether those are being remade; if so, the end of the log is their end only once the log says so.
    """

    former: str
    needed: int
    all_kept: bool = False
    remade: bool = False

    def is_reached(self, examples: int, at_end: bool = False, complete: bool = False) -> bool:
        """Return whether `examples` suffice, if the log is read to its end, and holds all retained examples."""
        learned_all = self.all_kept and at_end and (complete or not self.remade)
        return examples >= self.needed or (learned_all and examples > 0)


def takeover_from(former: ModelVersion, model: ModelDefinition) -> Takeover:
    """Return the takeover from the version that answers now.

    It needs the number of examples that the model declares; by default, as many as that version has learned.
    """
    if model.takeover is not None:
        return Takeover(former.definition, model.takeover)
    remade = definition_of(former).examples_hash != model.examples_hash
    return Takeover(former.definition, former.examples, all_kept=True, remade=remade)
