"""The common base of a loop's parts: a name, a place, and the recording of what a file declares."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, Self

from headrace.declare.place import Place
from headrace.errors import DefinitionError, DefinitionErrors
from headrace.wording import instead_of

_recording: ContextVar[list[object] | None] = ContextVar("headrace_recording", default=None)

_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


class Declaration:
    """A view, label, model or loop as the file declares it."""

    kind = "declaration"
    #: The options that had another name: the old name, and the present one.
    renamed_options: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *arguments: object, **options: object) -> Self:
        """Refuse options under their old names: Python's own error would not say the present ones."""
        if not cls.renamed_options.keys().isdisjoint(options):
            errors = cls._wrong_options(options)
            raise errors[0] if len(errors) == 1 else DefinitionErrors(errors)
        return super().__new__(cls)

    @classmethod
    def _wrong_options(cls, options: Iterable[str]) -> tuple[DefinitionError, ...]:
        """Return the mistakes of all options of a call that there are not, so that they can be fixed in one go."""
        names = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        where = f"{Place.here()}: {cls.kind}"
        errors = []
        for option in options:
            if new := cls.renamed_options.get(option):
                problem, cure = f"option {option} is called {new}", f"Write {new}= instead of {option}=."
                errors.append(DefinitionError(where, problem, cure))
            elif option not in names:
                errors.append(
                    DefinitionError(where, f"there is no option {option}", instead_of(option, names, "options"))
                )
        return tuple(errors)

    def __init__(self, name: str | None, was: str | None = None) -> None:
        self.place = Place.here()
        self.given_name = name
        self.was = was
        self.variable: str | None = None
        record(self)

    @property
    def name(self) -> str:
        """The given name, or that of its variable."""
        return self.given_name or self.variable or "?"

    @property
    def state_name(self) -> str:
        """The name under which its state is kept: after a rename, the old one."""
        return self.was or self.name

    @property
    def alias(self) -> str | None:
        """Its name, if its state is kept under another one."""
        return None if self.state_name == self.name else self.name

    @property
    def part(self) -> str:
        """Its name in error messages."""
        return f"{self.kind} {self.name}" if self.given_name or self.variable else f"a {self.kind}"

    def __repr__(self) -> str:
        return f"<{self.part}>"


@contextmanager
def recording() -> Iterator[list[object]]:
    """Collect everything that is declared within the block, in order."""
    declarations: list[object] = []
    token = _recording.set(declarations)
    try:
        yield declarations
    finally:
        _recording.reset(token)


def record(declaration: object) -> None:
    """Add a declaration to the current recording, if there is one."""
    declarations = _recording.get()
    if declarations is not None:
        declarations.append(declaration)


def snake_case(name: str) -> str:
    """Convert ``DepartedFlight`` to ``departed_flight``, ``HTTPCall`` to ``http_call``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower()


def is_name(name: object) -> bool:
    """Return whether a name is allowed in topics, keys and feature names."""
    return isinstance(name, str) and len(name) <= 100 and _NAME.fullmatch(name) is not None


NAMES = "Use lower-case letters, digits and _, a letter first."

SAME_STATE = "State belongs to one of them: drop was=, or take the other away."
