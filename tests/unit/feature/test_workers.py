"""Several fold workers, between which partitions move: vectors and rows are the same, whatever zombies do."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId
from headrace.engine.kernel.tiles import HEADER_BYTES
from headrace.errors import Fenced
from headrace.watermark import ENDED
from headrace.wire.position import Position
from headrace_feature.fold_worker import FoldWorker
from headrace_feature.takeover import Takeover
from tests.support.fold_fakes import Log, timeline
from tests.support.kernel_loop import Event, logs, loop
from tests.unit.feature.folds import World, batch, promise, worker

PARTITIONS = 3


class Reading:
    """One worker's reading of one partition, since a takeover: it continues even if the partition has been lost."""

    def __init__(self, fold: FoldWorker, partition: PartitionId, log: list[tuple[int, Event]]) -> None:
        self.fold = fold
        self._partition = partition
        self._log = log
        self._take()

    def feed(self, size: int) -> None:
        """Give the worker what comes next; after the last event the promise that nothing follows."""
        if self._next > len(self._log):
            return
        events = self._log[self._next : self._next + size]
        messages = batch(events, ENDED if self._next + size >= len(self._log) else None)
        if not events:
            messages = promise(len(self._log))
        self.fold.accept(self._partition, self._takeover.epoch, self.fold.decode(self._partition, messages))
        self._next += max(len(events), 1) if messages.properties[-1] == {} else len(self._log) + 1

    def begin_again(self) -> None:
        """Start again if the worker has given the partition up, since the broker gives it to this worker again."""
        if not self.fold.owns(self._partition, self._takeover.epoch):
            self._take()

    def _take(self) -> None:
        self._takeover: Takeover = self.fold.take_over(self._partition)
        self._next = self._takeover.position.ledger + 1


class Workers:
    """Several workers, and a broker that gives each partition to one of them."""

    def __init__(self, world: World, definition: LoopDefinition, events: Log, chance: random.Random) -> None:
        self._chance = chance
        self._world = world
        self._events = events
        self.folds = [worker(world, definition) for _ in range(3)]
        self.active: dict[PartitionId, Reading] = {}
        self.former: list[Reading] = []
        self._stepping: FoldWorker | None = None
        for partition in events:
            self.move(partition)

    def move(self, partition: PartitionId) -> None:
        """Give a partition to another worker; the previous one does not know, and has some of it in its queue."""
        if partition in self.active:
            self.former.append(self.active[partition])
        # A worker in the middle of a step takes over nothing: its thread is busy.
        fold = self._chance.choice([fold for fold in self.folds if fold is not self._stepping])
        self.active[partition] = Reading(fold, partition, self._events[partition])

    def disturb(self) -> None:
        """Deliver a batch, to an owner or a zombie; let one worker step, which may lose a partition during the step."""
        readings = [*self.active.values(), *self.former[-2:]]
        self._chance.choice(readings).feed(self._chance.randint(1, 9))
        if self._chance.random() < 0.2:
            self.move(self._chance.choice(list(self._events)))
        if self._chance.random() < 0.2:
            partition = self._chance.choice(list(self._events))
            self._world.meanwhile[self._world.effects + self._chance.randint(1, 6)] = lambda: self.move(partition)
        self.step(self._chance.choice(self.folds))

    def step(self, fold: FoldWorker) -> bool:
        self._stepping = fold
        try:
            more = fold.step()
        except Fenced:
            fold.give_up()
            more = True
        self._stepping = None
        for reading in self.active.values():
            if reading.fold is fold:
                reading.begin_again()
        return more

    def finish(self) -> None:
        self._world.meanwhile.clear()
        quiet = 0
        while quiet < 6:
            for reading in self.active.values():
                reading.begin_again()
                reading.feed(50)
            for fold in self.folds:
                for partition, log in self._events.items():
                    fold.note_silence(partition, Position(len(log), 0, -1))
            quiet = 0 if any(self.step(fold) for fold in self.folds) else quiet + 1


def state(world: World) -> object:
    """Return what must not depend on the worker: vectors by id, and rows without their fences."""
    vectors = {model: sorted(found) for model, found in world.vectors.items()}
    return vectors, {key: row[HEADER_BYTES:] for key, row in world.rows.items()}


@given(st.integers(0, 2**32), st.integers(0, 100))
@settings(max_examples=25)
def test_partitions_that_move_at_any_effect_change_no_bit(seed: int, moments: int) -> None:
    definition, events = loop(PARTITIONS), logs(timeline(80, seed % 7), PARTITIONS)
    plain = World()
    Workers(plain, definition, events, random.Random(0)).finish()
    world = World()
    workers = Workers(world, definition, events, random.Random(seed))
    for _ in range(moments):
        workers.disturb()
    workers.finish()
    assert len(plain.vectors["m"]) == len({id for id, _ in plain.vectors["m"]})
    assert state(world) == state(plain)
    assert world.counts["read_beyond_keep"] == 0
