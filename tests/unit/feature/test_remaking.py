"""Examples of a changed model: made in the background, in the log once, whatever is interrupted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId
from headrace.errors import Fenced, Unavailable
from headrace.history.remake import ClosedQuestion, OpenQuestion, remake
from headrace.history.streams import StreamHistory
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.pairs import FormerRead
from headrace.watermark import IDLE, UNKNOWN
from headrace.wire.envelope import Envelope
from headrace.wire.position import START, Position
from headrace.wire.tables import Kind, LogEntries, decode_log, encode_vectors, positions_of
from headrace_feature import example_remaker
from headrace_feature.example_remaker import ExampleRemaker, last_questions
from headrace_feature.join_worker import JoinWorker
from tests.deadline import until
from tests.headers import header
from tests.support.join_fakes import (
    HOUR,
    Claim,
    Counts,
    Log,
    Pairs,
    known,
    labels,
    loop,
    marks,
    owned,
    take,
    vectors,
    watermark,
    worker,
)
from tests.support.kept_events import LABELS, events, labelled
from tests.unit.history.served import TOPICS, KeptLogs, Message, Served

#: Ids of the questions that are made again; each is answered at once.
_IDS = "pqrstu"


def made_entries(ids: Sequence[str] = _IDS) -> list[LogEntries]:
    """Return all questions, then all answers, three entries at a time."""
    size = len(ids)
    entries = LogEntries(
        np.arange(2 * size),
        np.array([Kind.QUESTION] * size + [Kind.ANSWER] * size, np.int8),
        np.array([*range(size), *range(size)]),
        [*ids, *ids],
        np.array([*range(size), *range(size)]),
        np.array([*range(size), *range(size)]) + 1,
        np.array([np.nan] * size + [1.0] * size),
        np.ones(2 * size),
        np.array([[float(ord(id))] for id in [*ids, *ids]]),
        [],
        np.ones(2 * size, bool),
    )
    return [entries.take(range(start, start + 3)) for start in range(0, 2 * size, 3)]


class Made:
    """Examples that have been made."""

    progress = (6, 6)

    def __init__(self) -> None:
        self.left = made_entries()
        self.stopped = False

    def take(self) -> LogEntries | None:
        return self.left.pop(0) if self.left else None

    def open(self) -> list[OpenQuestion] | None:
        return None if self.left else [OpenQuestion("o", "o", 9, None, np.array([111.0]), [])]

    def closed(self) -> list[ClosedQuestion]:
        return [ClosedQuestion(id, index) for index, id in enumerate(_IDS)]

    def stop(self) -> None:
        self.stopped = True


class Crash(Exception):
    """A crash: the process ends here."""


def joining(definition: LoopDefinition, pairs: Pairs, log: Log, remaking: Callable[[], Made]) -> JoinWorker:
    join = JoinWorker(
        definition,
        definition.models[0],
        ["features"],
        ["told"],
        pairs=pairs,  # type: ignore[arg-type]
        log=log,  # type: ignore[arg-type]
        lease=Claim(),  # type: ignore[arg-type]
        heartbeat=Counts(),  # type: ignore[arg-type]
        durable=lambda: True,
        remake=lambda former: remaking(),
    )
    join.begin()
    return join


def logged(definition: LoopDefinition, log: Log) -> list[tuple[str, str, bool]]:
    """Return kind, id and mark of each entry; check that the places are right."""
    found: list[tuple[str, str, bool]] = []
    id_by_question: dict[int, str] = {}
    for payload in log.payloads:
        part = decode_log(definition.models[0], payload)
        assert part.made is not None
        for kind, seq, question, id, is_made in zip(
            part.kinds.tolist(), part.seqs.tolist(), part.questions.tolist(), part.ids, part.made.tolist(), strict=True
        ):
            if seq < len(found):
                continue  # sent again by the next owner: readers drop it
            assert seq == len(found)
            assert id_by_question.setdefault(question, id) == id
            found.append((Kind(kind).name.lower(), id, is_made))
    return found


EXPECTED = {(kind, id, True) for kind in ("question", "answer") for id in _IDS}


def changed(folder: Path) -> tuple[LoopDefinition, Pairs, Log]:
    """Return a loop whose features changed, and the store of its join from before."""
    old, new = loop(folder, "stream"), loop(folder, "stream", "[Asked.x.abs()]")
    pairs = Pairs(new)
    owned(worker(old, pairs, Log()))._journal.save({}, [])
    return new, pairs, Log(new.models[0])


def test_they_are_logged_and_what_is_open_is_joined(tmp_path: Path) -> None:
    definition, pairs, log = changed(tmp_path)
    join = joining(definition, pairs, log, Made)
    status = join.status()
    assert status is not None
    assert (status.made, status.to_make) == (6, 6)
    while join.step():
        pass
    assert set(logged(definition, log)) == EXPECTED
    assert not pairs.state.remake
    take(join, "features", vectors(definition, 1, "e"))
    take(join, "told", labels(10, "oe"))
    join.note_silence("features", START)
    while join.step():
        pass
    assert {entry for entry in logged(definition, log) if entry[0] == "answer"} - EXPECTED == {
        ("answer", "o", True),
        ("answer", "e", False),
    }


class Gate(Made):
    """Examples of which the last ones are made once the gate is open."""

    is_open = False

    def open(self) -> list[OpenQuestion] | None:
        return super().open() if self.is_open else None


def remaking(folder: Path, reread: int, examples: Made) -> tuple[LoopDefinition, JoinWorker, Log]:
    """Return the join of a changed loop: its labels had been read up to an entry, and its questions are far ahead."""
    definition, pairs, log = changed(folder)
    pairs.state.positions["told"] = Position(1, reread, -1).to_bytes()
    join = joining(definition, pairs, log, lambda: examples)
    take(join, "features", watermark(definition, 1, 9 * HOUR))
    return definition, join, log


def finish(join: JoinWorker) -> None:
    while join.step():
        pass


@pytest.mark.parametrize("batches", [[("p", "q"), ("r",), ("o",)], [("p", "q"), ("r", "o")], [("p", "q", "r", "o")]])
def test_a_label_that_comes_meanwhile_waits_for_the_questions_left_open(
    tmp_path: Path, batches: list[tuple[str, ...]]
) -> None:
    examples = Gate()
    definition, join, log = remaking(tmp_path, 3, examples)
    entry = 1
    for ids in batches:
        take(join, "told", known(entry, *((id, 5) for id in ids)))
        entry += len(ids)
        finish(join)
    # The former definition's join had read the first three labels; the remaker knows them.
    assert owned(join).position("told") == Position(1, 4, -1)
    examples.is_open = True
    finish(join)
    take(join, "told", marks(9, 10 * HOUR))
    finish(join)
    assert ("answer", "o", True) in logged(definition, log)
    counts = owned(join)._heartbeat
    assert isinstance(counts, Counts)
    assert counts.found["unmatched"] == 0


def test_labels_after_those_read_a_second_time_are_held_back(tmp_path: Path) -> None:
    _, join, _ = remaking(tmp_path, 3, Gate())
    take(join, "told", known(1, ("p", 5), ("q", 5)))
    assert not join.is_full("told")
    # The third one is no longer kept: what follows shows that it will not come.
    take(join, "told", known(4, ("o", 5)))
    assert join.is_full("told")
    assert owned(join).position("told") == Position(1, 3, -1)
    take(join, "told", known(4, ("o", 5), ("e", 5)))  # it is delivered a second time
    join.step()
    assert not join.is_full("told")
    assert owned(join).position("told") == Position(1, 5, -1)
    finish(join)
    assert owned(join)._state.weight.labels == len("pqoe")


def step_for_ever(join: JoinWorker) -> None:
    for _ in range(100):
        join.step()


@pytest.mark.parametrize("saves", range(5))
@pytest.mark.parametrize("sent", [False, True])
def test_after_a_crash_each_is_in_the_log_once(tmp_path: Path, saves: int, sent: bool) -> None:
    definition, pairs, log = changed(tmp_path)
    join = joining(definition, pairs, log, Made)
    left = [saves]
    save = pairs.save

    def crashing(*arguments: object, **options: Any) -> None:
        if not left[0] and not sent:
            raise Crash
        save(*arguments, **options)  # type: ignore[arg-type]
        if not left[0]:
            raise Crash
        left[0] -= 1

    pairs.save = crashing  # type: ignore[method-assign]
    with pytest.raises(Crash):
        step_for_ever(join)
    pairs.save = save  # type: ignore[method-assign]
    again = joining(definition, pairs, log, Made)
    while again.step():
        pass
    found = logged(definition, log)
    again.note_silence("features", START)
    assert sorted(found) == sorted(EXPECTED)
    assert not pairs.state.remake
    assert "o" in pairs.waiting.load(["o"])


def test_a_new_model_or_another_learner_makes_none(tmp_path: Path) -> None:
    definition, log = loop(tmp_path, "stream"), Log()
    pairs = Pairs(definition)
    first = joining(definition, pairs, log, Made)
    owned(first)._journal.save({}, [])
    assert not pairs.state.remake
    model = structs.replace(definition.models[0], learner="another")
    owned(joining(structs.replace(definition, models=(model,)), pairs, log, Made))._journal.save({}, [])
    assert not pairs.state.remake


def test_whoever_loses_the_join_makes_no_more(tmp_path: Path) -> None:
    definition, pairs, log = changed(tmp_path)
    examples = Made()
    join = joining(definition, pairs, log, lambda: examples)
    pairs.take_over()
    with pytest.raises(Fenced):
        join.step()
    join.give_up()
    assert examples.stopped


def test_all_that_the_kept_events_hold_is_made() -> None:
    served = Served(events(4))
    definition = labelled(served, LABELS["absent"])
    former = definition.models[0]
    model = structs.replace(former, features=former.features[3:])
    definition = structs.replace(definition, models=(model,))
    thread = ExampleRemaker(definition, model, served.logs, TOPICS, former={})
    found: list[LogEntries] = []

    def finished() -> bool:
        while (entries := thread.take()) is not None:
            found.append(entries)
        return thread.open() is not None

    until(finished)
    expected = remake(definition, model, StreamHistory(served.logs, TOPICS, definition))
    assert [entries.ids for entries in found] == [entries.ids for entries in expected.entries]
    assert thread.progress[0] == thread.progress[1] > 100
    assert [question.id for question in thread.open() or ()] == [question.id for question in expected.open]
    thread.stop()


class Unreliable:
    """Logs whose first read of each topic fails after two batches."""

    def __init__(self, logs: KeptLogs) -> None:
        self._logs = logs
        self.failures = 0
        self._read: set[str] = set()

    def partitions(self, topic: str) -> list[str]:
        return self._logs.partitions(topic)

    def read(self, physical: str, size: int = 5_000) -> Iterator[Batch]:
        breaks = physical not in self._read
        self._read.add(physical)
        for number, batch in enumerate(self._logs.read(physical, size)):
            if breaks and number == 2:
                self.failures += 1
                raise Unavailable("the broker")
            yield batch


def test_a_broker_that_stops_answering_delays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_remaker, "_RETRY_S", 0.01)
    served = Served(events(4))
    definition = labelled(served, LABELS["absent"])
    model = structs.replace(definition.models[0], learner="another")
    definition = structs.replace(definition, models=(model,))
    logs, found = Unreliable(served.logs), []
    thread = ExampleRemaker(definition, model, logs, TOPICS, former={})

    def finished() -> bool:
        while (entries := thread.take()) is not None:
            found.extend(entries.ids)
        return thread.open() is not None

    until(finished)
    thread.stop()
    expected = remake(definition, model, StreamHistory(served.logs, TOPICS, definition))
    assert logs.failures >= 3
    assert found == [id for entries in expected.entries for id in entries.ids]


def test_it_ends_where_vectors_of_the_new_definition_begin() -> None:
    served = Served(events(4))
    model = structs.replace(served.loop.models[0], label="another")
    logs = copy.deepcopy(served.logs)
    topic = logs.topics[TOPICS.features("m")]
    part = [message for message in topic[0] if message.payload]
    last = last_questions(logs, TOPICS, model, {})
    assert set(last) == {PartitionId("a", 0)}
    vectors_of = served.served()[20][0]
    again = encode_vectors(model, replace(vectors_of))
    topic[0].append(Message(part[-1].position, again, header(again, definition=model.hash, epoch=2)))
    ends = last_questions(logs, TOPICS, model, {})[PartitionId("a", 0)]
    assert ends < last[PartitionId("a", 0)]
    topic[0].append(part[-1])  # sent by a superseded owner
    assert last_questions(logs, TOPICS, model, {})[PartitionId("a", 0)] == ends
    back = served.loop.models[0]
    assert last_questions(logs, TOPICS, back, {})[PartitionId("a", 0)].to_bytes() == max(vectors_of.positions)
    # The same examples, of another learner.
    topic[0][-2].properties = header(again, definition=model.hash, epoch=2, examples=back.examples_hash)
    assert last_questions(logs, TOPICS, back, {}) == {}


def test_it_reaches_what_was_read_before_a_definition_returns() -> None:
    served = Served(events(4))
    (physical, *_), back = served.logs.partitions(TOPICS.features("m")), served.loop.models[0]
    positions = served.served()[20][0].positions
    first, second = (Position.from_bytes(position) for position in (min(positions), max(positions)))
    nothing = START.to_bytes()

    def last(event: bytes, message: bytes) -> object:
        return last_questions(served.logs, TOPICS, back, {physical: FormerRead(event, message)})

    assert last(max(positions), nothing) == {PartitionId("a", 0): second}
    assert last(min(positions), nothing) == {PartitionId("a", 0): first}
    # The join of a former definition passed these vectors, and did not take them.
    messages = [
        item for batch in served.logs.read(physical) for item in zip(batch.positions, batch.payloads, strict=True)
    ]
    (passed,) = [place for place, payload in messages if payload and positions_of(payload) == positions]
    assert last(nothing, passed.to_bytes()) == {PartitionId("a", 0): second}


def test_a_definition_that_returns_knows_how_far_another_one_has_read(tmp_path: Path) -> None:
    old, new = loop(tmp_path, "stream"), loop(tmp_path, "stream", "[Asked.x.abs()]")
    pairs, log = Pairs(new), Log(new.models[0])
    take(worker(old, pairs, Log()), "features", vectors(old, 1, "e"))
    join = joining(new, pairs, log, Made)
    take(join, "features", vectors(old, 2, "f"))  # made before the change, and read after it
    owned(join)._journal.save({}, [])
    back = joining(old, pairs, Log(old.models[0]), Made)
    read = owned(back)._state.remake_until["features"]
    assert read.event < read.message == Position(1, 2, -1).to_bytes()


def test_a_label_that_came_before_the_change_answers_a_question_behind_it(tmp_path: Path) -> None:
    old, new = loop(tmp_path, "stream"), loop(tmp_path, "stream", "[Asked.x.abs()]")
    pairs, log = Pairs(new), Log(new.models[0])
    before = worker(old, pairs, Log())
    take(before, "told", labels(10, "pe"))
    before.step()
    join = joining(new, pairs, log, Made)
    assert join.takeover("told").position == START
    join.step()
    assert pairs.state.remake  # closed questions are logged once the labels have been read
    while join.step():
        pass
    assert pairs.state.remake
    take(join, "told", labels(10, "pe"))
    while join.step():
        pass
    assert not pairs.state.remake
    assert owned(join).watermarks().questions < 0
    take(join, "features", vectors(new, 1, "e"))
    join.note_silence("features", START)
    while join.step():
        pass
    found = [entry for entry in logged(new, log) if entry[0] == "answer"]
    assert [entry for entry in found if entry[1] in "pe"] == [("answer", "p", True), ("answer", "e", False)]
    assert pairs.state.weight.labels == 0


def test_vectors_made_before_a_change_of_the_learner_are_joined_after_it(tmp_path: Path) -> None:
    definition, log = loop(tmp_path, "stream"), Log()
    pairs = Pairs(definition)
    owned(joining(definition, pairs, log, Made))._journal.save({}, [])
    model = structs.replace(definition.models[0], learner="another")
    join = joining(structs.replace(definition, models=(model,)), pairs, log, Made)
    take(join, "features", vectors(definition, 1, "e"))
    take(join, "told", labels(10, "e"))
    join.note_silence("features", START)
    while join.step():
        pass
    assert [entry[1] for entry in logged(definition, log) if entry[0] == "answer"] == ["e"]


def test_the_log_rests_again_once_everything_is_made(tmp_path: Path) -> None:
    definition, pairs, log = changed(tmp_path)
    join = joining(definition, pairs, log, Made)
    assert log.release_watermarks == [(0, UNKNOWN)]
    join.note_silence("features", START)
    take(join, "told", labels(10, "p"))
    while join.step():
        pass
    size = len(log.payloads)
    assert size > 1
    assert max(release_watermark for before, release_watermark in log.release_watermarks if before < size) < IDLE
    assert log.release_watermarks[-1] == (size, IDLE)


def test_an_open_question_is_logged_where_nothing_more_comes(tmp_path: Path) -> None:
    definition, pairs, log = changed(tmp_path)
    join = joining(definition, pairs, log, Made)
    join.note_silence("features", START)
    take(join, "told", labels(10, "p"))
    while join.step():
        pass
    assert ("question", "o", True) in logged(definition, log)


def test_what_was_asked_while_the_model_was_left_out_is_made(tmp_path: Path) -> None:
    definition, log = loop(tmp_path, "stream"), Log()
    pairs, model = Pairs(definition), definition.models[0]
    join = joining(definition, pairs, log, Made)
    (payload,) = vectors(definition, 1, "e").payloads
    envelope = Envelope(epoch=1, definition=model.hash, examples=model.examples_hash)

    def mark(entry: int, epoch: int, missed: Position) -> None:
        marker = replace(envelope, epoch=epoch, marker=True, missed=missed.to_bytes())
        take(join, "features", Batch([Position(1, entry, -1)], [b""], [marker.properties(b"")], [0]))
        join.step()

    mark(0, 1, Position(1, 0, -1))  # it is a new model
    take(join, "features", Batch([Position(1, 1, -1)], [payload], [envelope.properties(payload)], [0]))
    mark(2, 1, Position(1, 1, 0))  # all of them have vectors
    assert join.active
    assert not pairs.state.missed
    mark(3, 2, Position(1, 9, -1))
    assert not join.active
    assert pairs.state.missed
    log.model = model
    join.begin()
    state = owned(join)._state
    assert owned(join).is_remaking
    read = FormerRead(Position(1, 9, -1).to_bytes(), Position(1, 3, -1).to_bytes())
    assert state.remake_until["features"] == read
    assert not state.missed
