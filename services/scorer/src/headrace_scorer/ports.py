"""Protocols of the store, the kernel and the log of predictions, as the scorer uses them, with their data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headrace.definition import ModelDefinition
from headrace.engine.events import EventColumns
from headrace.engine.kernel.assembly import Assembled, RowRead
from headrace.engine.model_version import Scores, Version
from headrace.wire.position import Position

#: The stored fields of one hash, None where absent.
Fields = list[bytes | None]

#: The stored fields of each event and each of its reads.
RowFields = list[list[Fields]]


class RowSource(Protocol):
    """The source of the scorer's rows."""

    async def fetch(self, keys: Sequence[str], fields: Sequence[tuple[str, ...]]) -> list[Fields]:
        """Return the values of its fields for each key.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        ...


class Assembling(Protocol):
    """The part of the kernel's assembler of one model that is used here."""

    @property
    def reads(self) -> tuple[RowRead, ...]: ...

    @property
    def fields(self) -> frozenset[str]: ...

    def keys(self, events: EventColumns, read: RowRead) -> list[str | None]: ...

    def assemble_stored(self, events: EventColumns, times: npt.NDArray[np.int64], rows: RowFields) -> Assembled: ...


class VectorAges(Protocol):
    """The ages of the values of vectors."""

    def age(self, assembled: Assembled, row: int, as_of: int, feature: int) -> int | None:
        """Return the time between a feature's stalest row and its read; None if it has no row."""
        ...


@dataclass(frozen=True, slots=True)
class Unscored:
    """The vectors of several requests of one model, assembled together; no version scores them yet.

    `model` is the definition that the vectors belong to.
    """

    model: ModelDefinition
    ids: list[str]
    times: list[int]
    assembled: Assembled
    source: VectorAges
    store_down: bool


@dataclass(frozen=True, slots=True)
class ScoredRequests(Unscored):
    """The result for several requests of one model, computed together.

    `learned` says whether these are the model's own vectors, from which it learns; `unanswered` lists the rows for
    which the version has no plausible answer.
    """

    version: Version
    scores: Scores
    learned: bool = True
    unanswered: frozenset[int] = frozenset()


class PositionStore(Protocol):
    """How far each partition of a features topic is scored, by whichever scorer owns it."""

    def read(self, topic: str) -> Position:
        """Return the position of a topic, `START` if none is known.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        ...

    def write(self, topic: str, position: Position) -> None:
        """Note that everything up to a position is scored.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        ...


class ServedLog(Protocol):
    """The log of served predictions, for the join with their labels."""

    def offer(self, batch: Unscored, rows: Sequence[int]) -> bool:
        """Take these rows of a batch without waiting; return False if they will not be logged."""
        ...
