"""The definition that a running loop has, for whoever compares another one with it."""

from __future__ import annotations

import msgspec
import redis

from headrace import definition
from headrace.definition import LoopDefinition
from headrace.errors import CorruptState
from headrace.store.connection import store_errors


def definition_key(loop: str) -> str:
    return f"headrace:{loop}:definition"


class DefinitionStore:
    """Keeps the definition with which the feature service of a loop started last."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop

    def write(self, loop: LoopDefinition) -> None:
        """Replace the definition.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        with store_errors():
            self._store.set(definition_key(self._loop), definition.encode(loop))

    def read(self) -> LoopDefinition | None:
        """The definition; None before the first start.

        Raises
        ------
        Unavailable
            The store does not answer.
        CorruptState
            It is one of another version of headrace.
        """
        with store_errors():
            data: bytes | None = self._store.get(definition_key(self._loop))  # type: ignore[assignment]
        if data is None:
            return None
        try:
            return definition.decode(data)
        except msgspec.MsgspecError as error:
            raise CorruptState(f"store: the definition of loop {self._loop!r} cannot be read: {error}") from error
