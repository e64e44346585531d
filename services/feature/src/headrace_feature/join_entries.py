"""The waiting entries of a join, read from the store without those that are damaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import structlog

from headrace.engine.kernel.join import Entry, Index, name_at
from headrace.runtime.redis.connection import REMAKE
from headrace.runtime.redis.pairs import PairStore
from headrace.runtime.redis.status import Heartbeat

_log = structlog.get_logger()


class JoinEntries:
    """The entries that wait in the store, for the owner of an epoch."""

    def __init__(self, pairs: PairStore, model: str, epoch: int, heartbeat: Heartbeat) -> None:
        self._pairs = pairs
        self._model = model
        self._epoch = epoch
        self._heartbeat = heartbeat

    def at(self, listed: Mapping[Index, Sequence[bytes]]) -> tuple[dict[Index, list[str]], dict[str, Entry]]:
        """Return the names of the entries at these places, and the entries; remove places without an entry."""
        by_index = {index: {place: _name_at(index, place) for place in places} for index, places in listed.items()}
        entries = self.load(name for names in by_index.values() for name in names.values() if name is not None)
        lost_places = {
            index: [place for place, name in names.items() if name not in entries] for index, names in by_index.items()
        }
        if any(lost_places.values()):
            self._pairs.forget(self._epoch, (), lost_places)
        return {
            index: [name for name in names.values() if name is not None and name in entries]
            for index, names in by_index.items()
        }, entries

    def load(self, names: Iterable[str]) -> dict[str, Entry]:
        """Load entries; log, count and remove those that cannot be read."""
        unique = list(dict.fromkeys(names))
        if not unique:
            return {}
        result = self._pairs.load(unique)
        if result.wrong:
            for name, error in result.wrong.items():
                _log.error("entry_refused", model=self._model, name=name, reason=str(error), cure=REMAKE)
            self._heartbeat.count("wrong_entries", len(result.wrong))
            self._pairs.forget(self._epoch, result.wrong, {})
        return result.entries


def _name_at(index: Index, place: bytes) -> str | None:
    """Return the name of the entry at a place; None if the bytes are not a place."""
    try:
        return name_at(index, place)
    except (IndexError, UnicodeDecodeError):
        return None
