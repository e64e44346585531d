"""Collection of a loop's mistakes, so that all are reported at once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.declare.place import Place
from headrace.errors import DefinitionError, DefinitionErrors


class Mistakes:
    """The mistakes found so far, each once."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], tuple[Place, DefinitionError]] = {}

    def add(self, place: Place, part: str, problem: str, cure: str) -> None:
        """Note that `part` of the loop, declared at `place`, is wrong."""
        self.add_error(place, mistake(place, part, problem, cure))

    def add_error(self, place: Place, error: DefinitionError) -> None:
        """Note an error of the part declared at `place`."""
        self._errors.setdefault((error.where, error.problem), (place, error))

    def __bool__(self) -> bool:
        return bool(self._errors)

    def __len__(self) -> int:
        return len(self._errors)

    @property
    def errors(self) -> tuple[DefinitionError, ...]:
        """All mistakes, in the order of the file's lines."""
        ordered = sorted(self._errors.values(), key=lambda entry: (entry[0].file, entry[0].line))
        return tuple(error for _, error in ordered)

    def raise_if_any(self) -> None:
        """Raise the mistakes that were found.

        Raises
        ------
        DefinitionErrors
            There is at least one mistake.
        """
        if self._errors:
            raise DefinitionErrors(self.errors)


@dataclass(frozen=True)
class PartMistakes:
    """The mistakes of one part of the loop, which is declared at `place`."""

    place: Place
    part: str
    mistakes: Mistakes

    def add(self, problem: str, cure: str) -> None:
        """Note that the part is wrong."""
        self.mistakes.add(self.place, self.part, problem, cure)

    def __len__(self) -> int:
        return len(self.mistakes)


def mistake(place: Place, part: str, problem: str, cure: str) -> DefinitionError:
    """Return the error for a mistake at a line."""
    return DefinitionError(f"{place}: {part}", problem, cure)


def words_of(error: BaseException) -> str:
    """Return an error's message, without the suggestion that some Pythons append: headrace adds its own."""
    return re.sub(r"\. Did you mean '\w+'\?$", "", str(error))
