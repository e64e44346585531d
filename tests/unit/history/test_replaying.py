"""A replay of what was served: it finds no difference without a disturbance, and reports each for what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from headrace.engine.model_version import Version
from headrace.errors import InvalidEvent, UnknownName
from headrace.history.alterations import Alterations
from headrace.history.differences import Difference
from headrace.history.served_record import Selection
from headrace.v1.models_pb2 import ModelVersion
from headrace.wire.position import Position
from headrace.wire.tables import encode_vectors
from tests.headers import header
from tests.support.kernel_loop import SECOND, START, Event
from tests.unit.history.served import TOPICS, Message, Served, encode


def events(count: int = 80) -> list[Event]:
    """Return events of two streams in turn and three entities, a second apart, each fourth a little late."""
    return [
        Event("ab"[index % 2], f"{index:03d}", START + (index - 4 * (index % 4 == 3)) * SECOND, "pqr"[index % 3], index)
        for index in range(count)
    ]


def asked(of: list[Event]) -> list[str]:
    return [event.id for event in of if event.stream == "a"]


def told(found: list[Difference]) -> set[tuple[str, str]]:
    return {(difference.id, difference.what) for difference in found}


@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize("complete", [False, True])
def test_an_undisturbed_run_has_no_difference(partitions: int, complete: bool) -> None:
    served = Served(events(), partitions)
    served.learn()
    replay = served.replay(complete)
    (replayed,) = replay.vectors(Selection())
    assert sorted(replayed.logged.vectors.ids) == asked(events())
    assert served.differences(complete=complete) == []
    scored = ~np.isnan(replayed.scores.scores)
    assert scored.sum() == 30
    assert replayed.scores.published == {10, 20, 30}


def test_vectors_are_computed_in_passes() -> None:
    served = Served(events())
    served.learn()
    passes = [len(part.logged) for part in served.replay(pass_bytes=30_000).vectors(Selection())]
    assert len(passes) > 2
    assert sum(passes) == 40
    assert served.differences(pass_bytes=30_000) == []


def test_what_a_superseded_owner_sent_and_what_came_twice_does_not_count() -> None:
    served = Served(events())
    log = served.logs.topics[TOPICS.features("m")][0]
    last = served.served()[-1][-1]
    wrong = replace(last, numbers=last.numbers + 1.0)
    beyond = replace(wrong, positions=[Position(9, 0, -1).to_bytes()])
    fields = {"partition": 0, "definition": served.model.hash}
    # A new owner announces itself; then the old one still sends, and the new one sends what is out already.
    log.append(Message(log[-1].position, b"", header(b"", **fields, epoch=2, marker=True)))
    for epoch, vectors in (("1", beyond), ("2", wrong)):
        payload = encode_vectors(served.model, vectors)
        log.append(Message(log[-1].position, payload, header(payload, **fields, epoch=epoch)))
    assert served.differences() == []


def test_a_selection_is_all_that_is_replayed() -> None:
    served = Served(events())
    chosen = Selection(frozenset({"010", "012", "013"}), START + 11 * SECOND, START + 70 * SECOND)
    assert [part.logged.vectors.ids for part in served.replay().vectors(chosen)] == [["012"]]
    assert [len(part.logged) for part in served.replay().vectors(Selection(limit=3))] == [3]
    assert list(served.replay().vectors(Selection(frozenset({"nobody"})))) == []


def test_what_a_wait_cut_short_differs_only_from_the_complete_vector() -> None:
    asking = Event("a", "x", START + 10 * SECOND, "p", 2.0)
    late = Event("b", "y", START + 8 * SECOND, "p", 5.0)
    served = Served([asking, late], patient=False)
    assert served.differences() == []
    found = served.differences(complete=True)
    assert {difference.what.split(".")[0] for difference in found} == {"seen"}
    assert {difference.why.split(":")[0] for difference in found} == {"late event"}
    (mean,) = [difference for difference in found if difference.what == "seen.mean.12s"]
    assert (mean.logged, mean.recomputed, mean.by) == (None, 5.0, None)
    (count,) = [difference for difference in found if difference.what == "seen.count.12s"]
    assert (count.logged, count.recomputed, count.by) == (0.0, 1.0, 1.0)
    assert count.why == "late event: its cut of b ends at its beginning, the row went on to 3:0:-1"


def test_an_altered_event_is_named_where_it_changes_a_value(tmp_path: Path) -> None:
    served = Served(events())
    served.learn()
    before = events()[41]
    file = tmp_path / "altered.jsonl"
    file.write_bytes(encode(replace(before, x=1_000.0)) + b"\n" + encode(events()[43]) + b"\n")
    alterations = Alterations()
    alterations.read(served.loop, "b", file)
    found = served.differences(alterations=alterations)
    # Only q's window of a minute holds it.
    seeing = {
        event.id
        for event in events()
        if event.stream == "a" and event.k == before.k and before.at < event.at - event.at % SECOND
    }
    values = [difference for difference in found if difference.what != "score"]
    assert {difference.id for difference in values if difference.what == "seen.sum.1m"} == seeing
    assert {difference.what.split(".")[0] for difference in values} == {"seen", "coarse"}
    assert "count" not in {difference.what.split(".")[1] for difference in values}
    assert {difference.why for difference in values} == {"altered event: b 041"}
    assert {difference.why for difference in found if difference.what == "score"} == {"its vector differs"}
    assert alterations.altered == {"b": {"041"}}
    assert alterations.strangers() == {}


def test_an_altered_entity_takes_the_event_from_one_row_to_the_other(tmp_path: Path) -> None:
    served = Served(events())
    before = events()[41]
    file = tmp_path / "altered.jsonl"
    file.write_bytes(encode(replace(before, k="p")))
    alterations = Alterations()
    alterations.read(served.loop, "b", file)
    found = served.differences(alterations=alterations)
    counted = {difference.id: difference.by for difference in found if difference.what == "seen.count.1m"}
    after = [
        event
        for event in events()
        if event.stream == "a" and event.at > before.at and event.at < before.at + 55 * SECOND
    ]
    assert counted == {event.id: {before.k: -1.0, "p": 1.0}[event.k] for event in after if event.k in (before.k, "p")}


def test_an_event_that_is_left_out_is_missed() -> None:
    served = Served(events())
    alterations = Alterations()
    alterations.leave_out(served.loop, "a", "040")
    alterations.leave_out(served.loop, "b", "nobody")
    found = served.differences(alterations=alterations)
    gone = [difference for difference in found if difference.what == "vector"]
    why = "its event was left out of a, or altered so that it is not taken"
    assert [(difference.id, difference.why) for difference in gone] == [("040", why)]
    assert {difference.what.split(".")[0] for difference in found} == {"vector", "asked"}
    assert alterations.strangers() == {"b": ["nobody"]}


def test_an_alteration_that_is_no_event_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "altered.jsonl"
    file.write_bytes(b'{"id": "041", "at": 0, "k": "p", "x": "much"}')
    with pytest.raises(InvalidEvent, match="'x'"):
        Alterations().read(Served([]).loop, "b", file)
    with pytest.raises(UnknownName):
        Alterations().leave_out(Served([]).loop, "c", "041")


def test_another_event_in_the_place_of_one_is_noticed() -> None:
    served = Served(events())
    log = served.logs.topics[TOPICS.stream("b")][0]
    log[20] = Message(log[20].position, encode(replace(events()[41], x=7.0)))
    found = served.differences()
    assert {difference.what.split(".")[0] for difference in found} == {"seen", "coarse"}
    assert {difference.why for difference in found} == {"other events: what its cut holds has other values"}


def test_an_event_of_another_entity_where_a_cut_ends_is_noticed() -> None:
    served = Served(events())
    log = served.logs.topics[TOPICS.stream("b")][0]
    # A row may be ahead of its reader: choose one whose newest event its reader does see.
    ends = {
        vector.ids[0]: (int(vector.cuts[0, 1, 1]), int(vector.times[0]))
        for message in served.served()
        for vector in message
    }
    id, place = next(
        (id, place) for id, (place, time) in ends.items() if place > 10 and events()[2 * place + 1].at < time
    )
    log[place] = Message(log[place].position, encode(replace(events()[2 * place + 1], k="s")))
    whys = {found.why for found in served.differences(Selection(frozenset({id})))}
    assert whys == {f"another event: b has none of its entity at 3:{place}:-1, where its cut ends"}


def test_what_is_retained_no_more_is_told() -> None:
    served = Served(events())
    del served.logs.topics[TOPICS.stream("a")][0][:10]
    del served.logs.topics[TOPICS.stream("b")][0][:20]
    found = served.differences()
    assert {difference.id for difference in found if difference.what == "vector"} == set(asked(events())[:10])
    assert "a has no event at 3:0:-1 any more" in {difference.why for difference in found}
    assert any(difference.why.startswith("b is retained from 3:20:-1 on, its cut ends at 3:") for difference in found)


@pytest.mark.parametrize("field", ["at", ""])
def test_what_the_fold_refused_is_not_folded(field: str) -> None:
    """The fold refuses by its clock, or because the kernel fails on it: otherwise what follows would have been late."""
    served = Served(events())
    ahead = Event("b", "ahead", START + 79 * SECOND, "q", 9.0)
    log = served.logs.topics[TOPICS.stream("b")][0]
    position = log[19].position._replace(batch=0)
    log.insert(20, Message(position, encode(ahead)))
    assert served.differences() != []
    served.refuse(ahead, position, field)
    assert served.differences() == []


def test_a_score_of_another_version_is_told() -> None:
    served = Served(events())
    served.learn()
    published = [ModelVersion.FromString(m.payload) for m in served.logs.topics[TOPICS.models][0]]
    vector = served.served()[-1][-1]
    served.predict(vector, Version(served.model, published[0]), examples=30, epoch=None)
    served.predict(vector, Version(served.model, published[2]), epoch=None)
    (found,) = served.differences()
    assert (found.id, found.what) == (vector.ids[0], "score")
    assert found.by
    assert found.why == "other version: 30, as it is on the models topic, scores otherwise"
    (again,) = served.differences(relearn=True)
    assert again.why == "other version: 30, as it is learned again from the examples log, scores otherwise"


def test_a_version_that_is_on_its_topic_no_more_is_learned_again() -> None:
    served = Served(events())
    served.learn()
    del served.logs.topics[TOPICS.models][0][:2]
    (replayed,) = served.replay().vectors(Selection())
    assert (replayed.scores.published, replayed.scores.relearned) == ({30}, {10, 20})
    assert served.differences() == []
    (replayed,) = served.replay(learner=False).vectors(Selection())
    assert replayed.scores.missing == {10, 20}
    assert served.differences(learner=False) == []


def test_another_definition_is_passed_over_and_counted() -> None:
    served = Served(events())
    model = msgspec.structs.replace(served.model, learner="another")
    served.model = model
    replay = served.replay()
    assert list(replay.vectors(Selection())) == []
    assert replay.log.foreign > 0
