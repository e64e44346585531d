"""The examples log is compared with what the vectors and the label's stream imply."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from headrace.definition import Column, FieldType, LabelDefinition
from headrace.engine.kernel.labels import Labels
from headrace.history.differences import Difference
from headrace.history.examples import ExampleAudit
from headrace.history.served_record import Selection
from headrace.history.streams import StreamHistory
from headrace.wire.tables import Kind, LogEntries, encode_log
from tests.headers import envelope
from tests.support.kernel_loop import SECOND, START, Event
from tests.unit.history.served import TOPICS, Served

#: Labels come two seconds after their questions; the third question has none.
QUESTIONS = [Event("a", str(number), START + 10 * number * SECOND, "p", float(number)) for number in range(5)]
LABELS = [Event("b", question.id, question.at + 2 * SECOND, "p", 1.0) for question in QUESTIONS if question.id != "2"]


LABEL = LabelDefinition("label", "b", "a", "id", Column("x"), FieldType.FLOAT, 5 * SECOND)


@pytest.fixture
def served() -> Served:
    served = Served(sorted([*QUESTIONS, *LABELS], key=lambda event: event.at))
    served.loop = msgspec.structs.replace(served.loop, labels=(LABEL,))
    return served


def log(served: Served, ids: list[str], shift: int = 0, release_watermark: int | None = None) -> None:
    """Log these examples; what is known before `release_watermark` is complete, by default everything."""
    vectors = {vector.ids[0]: vector for part in served.served() for vector in part}
    outcomes = answers(served)
    for seq, id in enumerate(ids):
        vector, (time, value) = vectors[id], outcomes[id]
        answer = LogEntries(
            np.array([seq]), np.array([Kind.ANSWER], np.int8), np.array([seq]), [id], vector.times,
            np.array([time + shift]), np.array([value]), np.ones(1), vector.numbers, vector.categories,
        )  # fmt: skip
        served.logs.add(TOPICS.examples("m"), encode_log(served.model, answer), definition=served.model.hash, epoch="1")
    text = str(2**62 if release_watermark is None else release_watermark)
    served.logs.add(TOPICS.examples("m"), b"", definition=served.model.hash, epoch="1", release_watermark=text)


def answers(served: Served) -> dict[str, tuple[int, float]]:
    labels = Labels(served.loop, served.model)
    streams = StreamHistory(served.logs, TOPICS, served.loop)
    (partition,) = streams.partitions(labels.stream.name)
    found = [pair for events in streams.read(partition) for pair in labels.outcomes(events.columns)]
    return {id: (outcome.time, float(outcome.value)) for id, outcome in found}


def audit(served: Served, selection: Selection | None = None) -> list[Difference]:
    streams = StreamHistory(served.logs, TOPICS, served.loop)
    found = ExampleAudit(served.loop, served.model, streams, served.logs, topics=TOPICS)
    return list(found.differences(selection or Selection()))


def test_a_complete_log_has_no_difference(served: Served) -> None:
    log(served, ["0", "1", "3", "4"])
    assert audit(served) == []


def test_a_lost_example_is_found(served: Served) -> None:
    log(served, ["0", "3", "4"])
    (lost,) = audit(served)
    assert (lost.id, lost.what, lost.logged, lost.recomputed) == ("1", "example", None, 1.0)
    assert "not in the log" in lost.why
    assert audit(served, Selection(frozenset({"0"}))) == []


def test_an_example_that_is_not_due_yet_is_not_lost(served: Served) -> None:
    log(served, ["0"], release_watermark=QUESTIONS[1].at)
    assert audit(served) == []


def test_another_label_and_a_foreign_example_are_found(served: Served) -> None:
    log(served, ["0", "1", "3", "4"], shift=1)
    assert {difference.why for difference in audit(served)} == {"another label answers it"}
    served.logs.topics[TOPICS.stream("b")][0].clear()
    assert len(audit(served)) == 4


def test_what_the_former_learner_logged_counts_for_the_new_one(served: Served) -> None:
    log(served, ["0", "1", "3", "4"])
    for topic in (TOPICS.examples("m"), TOPICS.features("m")):
        for message in served.logs.topics[topic][0]:
            header = replace(envelope(message.properties, message.payload), examples=served.model.examples_hash)
            message.properties = header.properties(message.payload)
    served.model = msgspec.structs.replace(served.model, learner="another")
    assert audit(served) == []
    del served.logs.topics[TOPICS.examples("m")][0][1]
    assert [difference.id for difference in audit(served)] == ["1"]
