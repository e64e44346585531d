"""The waiting entries of a join, in memory: kept as in the store, encoded and read again each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from headrace.engine.kernel.join import NOTHING, Entry, Index, Rule, places, sort_key


class WaitingEntries:
    """The entries of a join and the orders in which they wait."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.entries: dict[str, bytes] = {}
        self.orders: dict[Index, set[bytes]] = {index: set() for index in Index}

    def load(self, ids: Iterable[str]) -> dict[str, Entry]:
        found = {id: self.entries[id] for id in ids if id in self.entries}
        return {id: msgspec.msgpack.decode(entry, type=Entry) for id, entry in found.items()}

    def before(self, times: Mapping[Index, int], limit: int) -> dict[Index, list[bytes]]:
        return {
            index: sorted(place for place in self.orders[index] if place < sort_key(time))[:limit]
            for index, time in times.items()
        }

    def due(self, begin: int, end: int) -> int:
        return sum(sort_key(begin) <= place < sort_key(end) for place in self.orders[Index.OPEN])

    def change(self, changed: Mapping[str, tuple[Entry, Entry]]) -> None:
        for id, (before, after) in changed.items():
            for index, place in places(id, before, self.rule):
                self.orders[index].discard(place)
            for index, place in places(id, after, self.rule):
                self.orders[index].add(place)
            self.entries.pop(id, None)
            if after != NOTHING:
                self.entries[id] = msgspec.msgpack.encode(after)

    def clear(self) -> None:
        self.entries = {}
        self.orders = {index: set() for index in Index}
