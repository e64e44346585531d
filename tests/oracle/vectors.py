"""Logged vectors: one for each question, at a cut that the waiting rule allows, with the values of that cut."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from headrace.definition import Aggregate, Apply, Expression, FieldType, LoopDefinition, ModelDefinition, walk
from tests.oracle.events import Event, Judged
from tests.oracle.expressions import Value, evaluate
from tests.oracle.record import NOWHERE, LoggedEntry, LoggedVector, Position, Streams
from tests.oracle.windows import Entry, Row, aggregate, entity_of, rows_of, widest

_EXACT = ("count", "min", "max", "last")
_CLOSE = ("log1p", "signed_log")


class Read(NamedTuple):
    """A row that a vector reads: of a view, for the entity that fields of the event name."""

    view: str
    key: tuple[str, ...]


class Tolerance(NamedTuple):
    """How much a machine may add to wall-clock times (µs).

    Attributes
    ----------
    delivery
        How long a published message may take to reach the worker that assembles.
    clocks
        How much shorter than it was a silence may seem.
    """

    delivery: int = 3_000_000
    clocks: int = 100_000

    def on(self, slowness: float) -> Tolerance:
        """Scale the tolerance to a machine that is slower by this factor."""
        return Tolerance(int(self.delivery * slowness), int(self.clocks * slowness))


_NO_ROW = Row()

#: A machine that is not overloaded.
USUAL = Tolerance()


class VectorCheck:
    """A check of the vectors of one model against its streams.

    Attributes
    ----------
    outside
        Vectors whose rows were further ahead than the view keeps single ticks: their values are not promised.
    incomplete
        Vectors that an idle source released without an event that came later.
    undetermined
        Vectors of examples that were made later, while events that belong to them arrived.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        judged: Judged,
        streams: Streams,
        tolerance: Tolerance = USUAL,
    ) -> None:
        self._loop = loop
        self._model = model
        self._streams = streams
        self._tolerance = tolerance
        self._questions = {
            (event.partition, event.position): event
            for partition in judged[model.stream]
            for event in partition.accepted
        }
        self._reads = reads_of(model)
        self._rows = {
            read.view: rows_of(loop.view(read.view), judged[loop.view(read.view).stream]) for read in self._reads
        }
        self._published = {
            name: [list(accumulate((message.published for message in log), max)) for log in logs]
            for name, logs in streams.items()
        }
        self._counting = {
            name: [{*(event.position for event in partition.accepted), *partition.marks} for partition in partitions]
            for name, partitions in judged.items()
        }
        self._by_id = {(event.id, event.time): event for event in reversed(self._questions.values())}
        self.outside = 0
        self.incomplete = 0
        self.undetermined = 0

    def missing(self, logged: Iterable[LoggedVector], since: Mapping[int, Position] | None = None) -> list[str]:
        """Return what is wrong with the set of vectors: each question after its partition's position must have one."""
        counts = Counter((vector.partition, vector.position) for vector in logged)
        since = since or {}
        lacking = [
            event.id
            for (partition, position), event in self._questions.items()
            if position > since.get(partition, NOWHERE) and (partition, position) not in counts
        ]
        wrong = [f"{len(lacking)} of {len(self._questions)} questions have no vector: {lacking[:5]}"] if lacking else []
        wrong += [f"{count} vectors for the event at {place}" for place, count in counts.items() if count > 1]
        wrong += [f"a vector for {place}, where no event counts" for place in counts if place not in self._questions]
        return wrong

    def wrong(self, vector: LoggedVector) -> list[str]:
        """Return what is wrong with one vector."""
        event = self._questions.get((vector.partition, vector.position))
        if event is None:
            return []  # `missing` reports this
        if (vector.id, vector.time) != (event.id, event.time):
            return [f"vector {vector.id} at {vector.time} is of event {event.id} at {event.time}"]
        cuts = iter(vector.cut)
        held: dict[Read, list[Entry]] = {}
        wrong: list[str] = []
        incomplete = False
        for read in self._reads:
            stream = self._loop.stream(self._loop.view(read.view).stream)
            cut = [next(cuts) for _ in range(stream.partitions)]
            entity = entity_of(event.fields, read.key)
            row = self._rows[read.view].get(entity, _NO_ROW) if entity is not None else _NO_ROW
            view = self._loop.view(read.view)
            if any(entry.position <= cut[entry.partition] for entry in row.between(vector.time + view.keep + 1)):
                self.outside += 1
                return wrong
            inside = row.between(*widest(view, vector.time))
            held[read] = [entry for entry in inside if entry.position <= cut[entry.partition]]
            absent = [entry for entry in inside if entry.position > cut[entry.partition]]
            incomplete |= bool(absent)
            wrong += self._not_allowed(vector, read, absent)
        self.incomplete += incomplete
        return wrong + list(self._wrong_values(vector, event, held))

    def wrong_made(self, entry: LoggedEntry, until: int) -> list[str]:
        """Return what is wrong with the vector of an example that was made from the events published up to a time.

        Events that belong to it and came after that may be in it, or not.
        """
        event = self._by_id.get((entry.id, entry.time))
        if event is None:
            return [f"{entry.kind} {entry.id} at {entry.time} was made of no event"]
        held: dict[Read, list[Entry]] = {}
        for read in self._reads:
            view = self._loop.view(read.view)
            entity = entity_of(event.fields, read.key)
            row = self._rows[read.view].get(entity, _NO_ROW) if entity is not None else _NO_ROW
            held[read] = list(row.between(*widest(view, entry.time)))
            if any(entry.published > until for entry in held[read]):
                self.undetermined += 1
                return []
        return list(self._wrong_values(entry, event, held))

    def _not_allowed(self, vector: LoggedVector, read: Read, absent: Sequence[Entry]) -> list[str]:
        """Return what the cut lacks without reason.

        An event before the vector's head was accepted later, so its partition was idle or ended when the vector was
        assembled: the event had not been published, and nothing else had for `idle`.
        """
        view = self._loop.view(read.view)
        assembled = vector.published_ms * 1_000 + 999
        for entry in absent:
            what = f"vector {vector.id}: its cut of {view.name} lacks the event at {entry.position}"
            if entry.published < assembled - self._tolerance.delivery:
                return [f"{what}, published {(assembled - entry.published) / 1e6:.3f} s before"]
            if not self._rested(view.stream, entry.partition, assembled):
                return [f"{what}, though partition {entry.partition} of {view.stream} was not idle"]
        return []

    def _rested(self, stream: str, partition: int, at: int) -> bool:
        """Return whether a partition may have been idle or ended at a wall-clock time.

        It is from a silence, or the end of a history, on: until the next event or mark that counts. What was published
        within the tolerance may have been delivered by then, or not.
        """
        log, published = self._streams[stream][partition], self._published[stream][partition]
        delivered, seen = (bisect_right(published, at - late) for late in (self._tolerance.delivery, 0))
        counting = self._counting[stream][partition]
        last = next((index for index in reversed(range(delivered)) if log[index].position in counting), None)
        if last is None or self._model.max_delay is not None:
            return True
        silences = (later - earlier for earlier, later in pairwise([*published[last:delivered], at]))
        ended = any(message.ends_history for message in log[last:seen])
        return ended or max(silences) >= self._loop.idle - self._tolerance.clocks

    def _wrong_values(
        self, vector: LoggedVector | LoggedEntry, event: Event, held: dict[Read, list[Entry]]
    ) -> Iterator[str]:
        def read(node: Aggregate) -> Value:
            return aggregate(self._loop.view(node.view), node, held[Read(node.view, node.key)], event.time)

        for feature in self._model.features:
            expected, actual = evaluate(feature.value, event.fields, read), vector.values[feature.name]
            if not same(expected, actual, exact=is_exact(self._loop, feature.value)):
                yield f"vector {vector.id}: {feature.name} is {actual!r} instead of {expected!r}"


def reads_of(model: ModelDefinition) -> list[Read]:
    """Return the rows that a vector reads, in the order in which its cut has them."""
    numeric = [feature.value for feature in model.features if feature.type is not FieldType.STRING]
    nodes = (node for value in numeric for node in walk(value))
    return list(dict.fromkeys(Read(node.view, node.key) for node in nodes if isinstance(node, Aggregate)))


def is_exact(loop: LoopDefinition, value: Expression) -> bool:
    """Return whether a feature's value must be equal bit for bit: it holds no sum and no logarithm."""
    return not any(_is_close(loop, node) for node in walk(value))


def _is_close(loop: LoopDefinition, node: Expression) -> bool:
    if isinstance(node, Apply):
        return node.operation in _CLOSE
    if not isinstance(node, Aggregate):
        return False
    operations = {aggregate.name: aggregate.operation for aggregate in loop.view(node.view).aggregates}
    return operations[node.aggregate] not in _EXACT


def same(expected: Value, actual: Value, *, exact: bool) -> bool:
    """Return whether a logged value is the expected one."""
    if isinstance(expected, float) and isinstance(actual, float) and not exact:
        return math.isclose(expected, actual, rel_tol=1e-9, abs_tol=1e-9)
    return expected == actual
