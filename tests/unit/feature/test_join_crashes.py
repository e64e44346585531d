"""The join worker, killed at any effect: the examples are the same, each once, in the same order."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from headrace.definition import LoopDefinition
from headrace.engine.kernel.join import Entry
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.pairs import JoinState
from headrace.watermark import ENDED
from headrace.wire.envelope import Envelope
from headrace.wire.position import Position
from headrace.wire.tables import Kind, decode_log
from tests.headers import header
from tests.support.join_fakes import Log, Pairs, joiner, labels, loop, vectors
from tests.unit.feature.folds import Crash, World


class CrashingPairs(Pairs):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def save(
        self,
        epoch: int,
        state: JoinState,
        changed: Mapping[str, tuple[Entry, Entry]],
        seen: Mapping[tuple[int, str], int | None] | None = None,
    ) -> None:
        self.world.effect()
        super().save(epoch, copy.deepcopy(state), changed, seen)
        self.world.after()


class CrashingLog(Log):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def send(self, payload: bytes, envelope: Envelope) -> None:
        self.world.effect()
        super().send(payload, envelope)
        self.world.after()


def history(definition: LoopDefinition) -> dict[str, list[Batch]]:
    """Return vectors, some of them sent again, with their watermarks; labels, one before its vector and one without."""
    model = definition.models[0]
    end = Batch([Position(1, 9, -1)], [b""], [header(b"", definition=model.hash, release_watermark=ENDED)], [0])
    return {
        "features": [vectors(definition, 0, "abc"), vectors(definition, 0, "bc"), vectors(definition, 1, "de"), end],
        "told": [labels(0, "ea"), labels(3, "cdx")],
    }


def drive(definition: LoopDefinition, pairs: Pairs, log: Log) -> None:
    """Read what is not read yet, in turns, with a step after each batch."""
    join = joiner(definition, pairs, log)
    join.begin()
    batches = history(definition)
    takeovers = {topic: join.takeover(topic) for topic in ("features", "told")}
    for place in range(4):
        for topic in ("features", "told"):
            for batch in batches[topic][place : place + 1]:
                if fresh := batch.after(takeovers[topic].position):
                    join.accept(topic, takeovers[topic].epoch, fresh)
                    join.step()
    while join.step():
        pass


def learned(definition: LoopDefinition, log: Log) -> list[tuple[int, str, float]]:
    """Return the entries as the learner takes them: by number, the first of each."""
    found: dict[int, tuple[int, str, float]] = {}
    for payload in log.payloads:
        entries = decode_log(definition.models[0], payload)
        for seq, id_, kind, label in zip(
            entries.seqs.tolist(), entries.ids, entries.kinds.tolist(), list(entries.labels), strict=True
        ):
            entry = (seq, id_, float(label) if kind == Kind.ANSWER else -1.0 - kind)
            assert seq <= len(found)
            assert found.setdefault(seq, entry) == entry
    return list(found.values())


def test_a_crash_at_any_effect_changes_no_example(tmp_path: Path) -> None:
    definition = loop(tmp_path, "stream")
    world = World()
    plain = CrashingLog(world)
    drive(definition, CrashingPairs(world), plain)
    assert [id for _, id, label in learned(definition, plain) if label >= 0] == ["a", "d", "e", "c"]
    for crash_at in range(1, world.effects + 1):
        for lost in (False, True):
            crashing = World(crash_at=crash_at, lost=lost)
            pairs, log = CrashingPairs(crashing), CrashingLog(crashing)
            try:
                drive(definition, pairs, log)
            except Crash:
                drive(definition, pairs, log)
            assert learned(definition, log) == learned(definition, plain), (crash_at, lost)
