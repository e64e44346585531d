"""Conversion of events to vectors: choose the rows, read each once, and assemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.definition import Aggregate, FeatureDefinition, LoopDefinition, ModelDefinition, walk
from headrace.engine.events import EventColumns
from headrace.engine.kernel.assembly import Assembled, RowRead
from headrace.runtime.redis.rows import row_field, row_key
from headrace_scorer.ports import Assembling, RowFields, RowSource

#: The kernel's "no event" in `Assembled.newest`.
_NO_ROW = -(2**62)


class _Hash(NamedTuple):
    """One entity's hash: all the reads of a vector that it serves."""

    prefix: str
    read: RowRead
    fields: tuple[str, ...]
    slices: tuple[tuple[int, int, int], ...]  # (read, first field, last field + 1)


class VectorSource:
    """The vectors of one model, made from the online store.

    Parameters
    ----------
    assembler
        The kernel's assembler of the same model.
    """

    def __init__(self, loop: LoopDefinition, model: ModelDefinition, assembler: Assembling, rows: RowSource) -> None:
        self._assembler = assembler
        self._rows = rows
        self._partitions = [loop.stream(loop.view(read.view).stream).partitions for read in assembler.reads]
        fields = [
            tuple(row_field(loop.view(read.view), partition) for partition in range(count))
            for read, count in zip(assembler.reads, self._partitions, strict=True)
        ]
        self._hashes = _hashes(loop.name, assembler.reads, fields)
        self._sources = [_sources(feature, assembler.reads) for feature in model.features]

    async def assemble(self, events: EventColumns, times: npt.NDArray[np.int64]) -> Assembled:
        """Assemble the events' vectors as of the times: one read of the store, one pass of the kernel.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        return self._assembler.assemble_stored(events, times, await self._read(events))

    def without_rows(self, events: EventColumns, times: npt.NDArray[np.int64]) -> Assembled:
        """Assemble the same vectors with every row missing."""
        absent: list[list[bytes | None]] = [[None] * count for count in self._partitions]
        return self._assembler.assemble_stored(events, times, [absent] * len(events))

    def age(self, assembled: Assembled, row: int, as_of: int, feature: int) -> int | None:
        """Return the time between a feature's stalest row and its read; None if it has no row."""
        newest = [int(assembled.newest[row, read]) for read in self._sources[feature]]
        times = [time for time in newest if time > _NO_ROW]
        return as_of - min(times) if times else None

    async def _read(self, events: EventColumns) -> RowFields:
        size = len(events)
        keys: list[str] = []
        fields: list[tuple[str, ...]] = []
        # An entity that several events of a batch share is read only once.
        places: dict[tuple[str, tuple[str, ...]], int] = {}
        columns: list[list[int | None]] = []
        for entity_hash in self._hashes:
            column: list[int | None] = []
            for entity in self._assembler.keys(events, entity_hash.read):
                if entity is None:
                    column.append(None)
                    continue
                key = entity_hash.prefix + entity
                index = places.setdefault((key, entity_hash.fields), len(keys))
                if index == len(keys):
                    keys.append(key)
                    fields.append(entity_hash.fields)
                column.append(index)
            columns.append(column)
        replies = await self._rows.fetch(keys, fields)
        rows: RowFields = [[[] for _ in self._partitions] for _ in range(size)]
        for entity_hash, column in zip(self._hashes, columns, strict=True):
            absent: list[bytes | None] = [None] * len(entity_hash.fields)
            for event, place in enumerate(column):
                values = absent if place is None else replies[place]
                row = rows[event]
                for read, first, last in entity_hash.slices:
                    row[read] = values[first:last]
        return rows


def _hashes(loop: str, reads: Sequence[RowRead], fields_of: Sequence[tuple[str, ...]]) -> list[_Hash]:
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for place, read in enumerate(reads):
        groups.setdefault((read.entity, read.key), []).append(place)
    hashes = []
    for (entity, _), members in groups.items():
        fields: list[str] = []
        slices = []
        for place in members:
            first = len(fields)
            fields.extend(fields_of[place])
            slices.append((place, first, len(fields)))
        hashes.append(_Hash(row_key(loop, entity, ""), reads[members[0]], tuple(fields), tuple(slices)))
    return hashes


def _sources(feature: FeatureDefinition, reads: Sequence[RowRead]) -> list[int]:
    aggregates = {(node.view, node.key) for node in walk(feature.value) if isinstance(node, Aggregate)}
    return [place for place, read in enumerate(reads) if (read.view, read.key) in aggregates]
