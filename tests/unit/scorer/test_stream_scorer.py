"""Scoring the features topic: which vectors are scored, dropped or passed on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.definition import ModelDefinition
from headrace.engine.model_version import Version
from headrace.wire.deduplication import Accepted
from headrace.wire.position import Position
from headrace.wire.tables import MAX_ROWS, Predictions, decode_predictions
from headrace_scorer.stream_scorer import Output, ScoredBatch, StreamScorer
from tests.headers import header
from tests.support.scored_vectors import Topic, properties, vectors
from tests.unit.scorer.support import FRAUD, SORT, asked_of_river, learner, version


def scoring(model: ModelDefinition = FRAUD) -> StreamScorer:
    current = Version(model, version(model))
    return StreamScorer(model, lambda: current)


def predictions(outcome: ScoredBatch, model: ModelDefinition = FRAUD) -> list[Predictions]:
    return [decode_predictions(model, output.payload) for output in outcome.outputs if output.payload]


def test_every_vector_gets_the_score_that_river_gives_it_and_keeps_its_place() -> None:
    outcome = scoring().score(
        Topic().batch((vectors(FRAUD, [1, 2, 3]), properties(1, 30)), (vectors(FRAUD, [4]), properties(1, 40))),
        "features",
    )
    (found,) = predictions(outcome)
    assert found.ids == ["e1", "e2", "e3", "e4"]
    assert found.times.tolist() == [10, 20, 30, 40]
    assert found.positions == [Position(1, place, -1).to_bytes() for place in (1, 2, 3, 4)]
    assert found.versions.tolist() == [60] * 4
    assert outcome.outputs[0].properties == header(outcome.outputs[0].payload, **properties(1, 40))
    assert (outcome.predictions, outcome.unscored, outcome.release_watermark) == (4, 0, 40)
    names = [feature.name for feature in FRAUD.features if feature.type == "float"]
    pipeline = learner(FRAUD)
    for row in range(4):
        x = dict(zip(names, found.numbers[row].tolist(), strict=True)) | {"kind": found.categories[0][row]}
        assert found.scores[row] == pytest.approx(asked_of_river(FRAUD, pipeline, x), rel=1e-12)


def test_multiclass_predictions_name_their_class() -> None:
    header = properties(1) | {"definition": SORT.hash}
    (found,) = predictions(scoring(SORT).score(Topic().batch((vectors(SORT, [1, 2]), header)), "features"), SORT)
    assert found.labels is not None
    assert set(found.labels) <= {"a", "b", "c"}


def test_what_came_before_or_from_a_superseded_owner_is_dropped() -> None:
    topic, scorer = Topic(), scoring()
    scorer.score(topic.batch((vectors(FRAUD, [1, 2, 3]), properties(1, 30))), "features")
    marker = (b"", properties(2, marker=True))
    again = scorer.score(
        topic.batch(
            (vectors(FRAUD, [2, 3, 4]), properties(1)),
            marker,
            (vectors(FRAUD, [5, 6]), properties(1, 99)),
            (vectors(FRAUD, [4, 5]), properties(2, 50)),
        ),
        "features",
    )
    # The new owner's repetition is kept: its reader drops it, unless it was a superseded owner's.
    assert [part.ids for part in predictions(again)] == [["e4"], ["e4", "e5"]]
    assert [output.properties["epoch"] for output in again.outputs] == ["1", "2", "2"]
    assert again.outputs[1].payload == b""
    assert again.outputs[1].properties["marker"] == "1"
    assert again.release_watermark == 50


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=4), st.data())
@settings(max_examples=60)
def test_each_vector_is_predicted_once_whichever_scorers_begin_where(
    spans: list[tuple[int, int]], data: st.DataObject
) -> None:
    log, last = written_by_owners(spans, data)
    topic, reader, taken, done = Topic(), Accepted(), list[str](), 0
    while done < len(log):
        # A scorer begins where the predictions before are durable, or earlier.
        start = data.draw(st.integers(0, done))
        end = data.draw(st.integers(done + 1, len(log)))
        scorer = scoring()
        for message in log[start:end]:
            outcome = scorer.score(topic.batch(message), "features")
            taken += [id for output in outcome.outputs for id in accepted_ids(reader, output)]
        done = end
    assert taken == [f"e{place}" for place in range(1, last)]


def written_by_owners(spans: list[tuple[int, int]], data: st.DataObject) -> tuple[list[tuple[bytes, Any]], int]:
    """Return a features topic whose owners, once superseded, still write, and the place after its last vector."""
    log: list[tuple[bytes, Any]] = []
    reached = 1
    for epoch, (back, count) in enumerate(spans, 1):
        first = max(reached - back, 1)
        marker = (b"", properties(epoch, marker=True))
        mine = [(vectors(FRAUD, [place]), properties(epoch)) for place in range(first, first + count)]
        late = [(vectors(FRAUD, [reached + 1]), properties(old)) for old in range(1, epoch)]
        # Each owner's messages keep their order.
        places = sorted(data.draw(st.lists(st.integers(0, count), min_size=len(late), max_size=len(late))))
        for before, message in reversed(list(zip(places, late, strict=True))):
            mine.insert(before, message)
        log += [marker, *mine]
        reached = max(reached, first + count)
    return log, reached


def accepted_ids(reader: Accepted, output: Output) -> list[str]:
    epoch = int(output.properties["epoch"])
    if not output.payload:
        reader.mark(epoch)
        return []
    found = decode_predictions(FRAUD, output.payload)
    return [found.ids[place] for place in reader.take(epoch, found.positions)]


def test_without_a_version_vectors_pass_unscored_but_their_watermark_is_passed_on() -> None:
    scorer = StreamScorer(FRAUD, lambda: None)
    outcome = scorer.score(Topic().batch((vectors(FRAUD, [1, 2]), properties(1, 20))), "features")
    assert (outcome.predictions, outcome.unscored) == (0, 2)
    assert [(output.payload, output.properties["release_watermark"]) for output in outcome.outputs] == [(b"", "20")]


def test_vectors_of_another_definition_are_ignored_and_counted() -> None:
    header = properties(1) | {"definition": "f" * 16}
    batch = Topic().batch((vectors(FRAUD, [1]), header), (vectors(FRAUD, [1]), properties(1)))
    outcome = scoring().score(batch, "features")
    assert outcome.ignored == 1
    assert outcome.predictions == 1


def test_a_message_that_cannot_be_read_is_told_and_the_rest_is_scored() -> None:
    batch = Topic().batch((b"no table", properties(1)), (vectors(FRAUD, [1]), properties(1)))
    outcome = scoring().score(batch, "features")
    assert outcome.predictions == 1
    (refused,) = outcome.wrong
    assert (refused.position, refused.payload) == (Position(9, 0, -1), b"no table")
    assert "no Arrow stream" in refused.reason.problem


def test_messages_stay_below_the_brokers_limit() -> None:
    messages = [(vectors(FRAUD, range(first, first + 1_500)), properties(1, first)) for first in range(0, 6_000, 1_500)]
    found = predictions(scoring().score(Topic().batch(*messages), "features"))
    assert sum(len(part) for part in found) == 6_000
    assert max(len(part) for part in found) <= MAX_ROWS
