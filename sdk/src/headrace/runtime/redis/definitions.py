"""The definition of a running loop, for comparison with another one."""

from __future__ import annotations

import redis
import structlog

from headrace.definition import LoopDefinition
from headrace.errors import NewerFormat, OlderFormat, Unreadable
from headrace.runtime.redis.connection import store_errors
from headrace.wire import compiled_loop

_log = structlog.get_logger()


def definition_key(loop: str) -> str:
    """Return the key of a loop's definition."""
    return f"headrace:{loop}:definition"


class DefinitionStore:
    """Keeps the definition with which a loop's feature service started last."""

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
            self._store.set(definition_key(self._loop), compiled_loop.encode(loop))

    def refuse_older(self) -> None:
        """Make sure that the store's state was not written by a headrace whose formats this one cannot read.

        Raises
        ------
        OlderFormat, NewerFormat
            It was written by an older one, or by a newer one.
        """
        try:
            self.read()
        except (OlderFormat, NewerFormat):
            raise
        except Unreadable as error:
            _log.warning("definition_unreadable", reason=str(error))  # it is about to be replaced

    def read(self) -> LoopDefinition | None:
        """Return the definition; None before the first start.

        Raises
        ------
        Unavailable
            The store does not answer.
        Unreadable
            It is damaged, or of another version of headrace.
        """
        with store_errors():
            data: bytes | None = self._store.get(definition_key(self._loop))  # type: ignore[assignment]
        subject = f"the definition of loop {self._loop!r} in the store"
        return None if data is None else compiled_loop.decode(data, subject)
