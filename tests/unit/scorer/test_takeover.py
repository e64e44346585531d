"""A former definition answers until the new one has learned enough."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from headrace.definition import Aggregate, Column, FeatureDefinition, FieldType, LoopDefinition, ModelDefinition
from headrace.engine.former import ALL, Former, Selection, selection, widened
from headrace.engine.kernel.assembly import Assembler
from headrace.errors import InvalidEvent
from headrace.runtime.redis.rows import row_field
from headrace.v1 import models_pb2
from headrace.wire.tables import decode_predictions, decode_vectors
from headrace.wire.topics import Topics
from headrace_scorer.pulsar.prediction_log import PredictionQueue, messages
from headrace_scorer.scorer import Request, Scorer
from headrace_scorer.stream_scorer import StreamScorer
from headrace_scorer.version_cache import VersionCache
from headrace_scorer.versions import Takeover, Versions
from tests.headers import header
from tests.support import scored_vectors
from tests.unit.scorer.support import (
    FRAUD,
    LOOP,
    NOW,
    NUMBERS,
    WORTH,
    FakeRows,
    Notes,
    event,
    history,
    version,
)

OTHER_LEARNER = structs.replace(FRAUD, learner="another")
FEWER = structs.replace(FRAUD, features=(FRAUD.features[2], FRAUD.features[4], FRAUD.features[0]))
#: No vector of FRAUD contains its vector.
OTHER = structs.replace(
    FRAUD, features=(*FRAUD.features, FeatureDefinition("shop", FieldType.STRING, Column("shop"))), learner="forest"
)
#: It reads from one view only.
OF_CARD = structs.replace(
    FRAUD, features=(FeatureDefinition("amount", FieldType.FLOAT, Aggregate("by_card", "mean", "1h", ("card",))),)
)


def published(of: ModelDefinition, examples: int, taken_over: bool = True, **changes: Any) -> models_pb2.ModelVersion:
    """Return a version as a learner sends it, with its definition."""
    result = version(of, examples, model_definition=msgspec.json.encode(of), taken_over=taken_over, **changes)
    result.views.update({view.name: view.hash for view in LOOP.views if view.name in of.view_names})
    return result


def offered(*sent: models_pb2.ModelVersion, notes: Notes | None = None) -> Versions:
    versions = Versions(LOOP, notes or Notes())
    versions.offer(list(sent))
    return versions


def answering(versions: Versions) -> tuple[str, int]:
    found = versions.current("fraud")
    return found.model.hash, found.examples


@pytest.mark.parametrize("former", [OTHER_LEARNER, FEWER, OTHER], ids=["learner", "features", "others"])
def test_the_former_answers_until_the_new_one_has_taken_over(former: ModelDefinition) -> None:
    versions = offered(published(former, 60), published(FRAUD, 20, taken_over=False, needed=60))
    assert answering(versions) == (former.hash, 60)
    assert versions.takeover("fraud") == Takeover(former.hash, 20, 60)
    taken = published(FRAUD, 60)
    assert versions.offer([taken]) == {"fraud": taken}
    assert answering(versions) == (FRAUD.hash, 60)
    assert versions.takeover("fraud") is None
    # Compaction has not removed it yet.
    versions.offer([published(former, 80)])
    assert answering(versions) == (FRAUD.hash, 60)


def test_all_in_one_backlog_the_one_that_took_over_answers() -> None:
    assert answering(offered(published(OTHER_LEARNER, 60), published(FRAUD, 40))) == (FRAUD.hash, 40)


def test_of_two_former_ones_that_answers_which_took_over_last() -> None:
    newer = published(FEWER, 30, taken_over=False)
    first = offered(published(OTHER_LEARNER, 60), newer)
    assert answering(first) == (OTHER_LEARNER.hash, 60), "the other one never answered"
    assert answering(offered(published(OTHER_LEARNER, 60), published(FEWER, 30))) == (FEWER.hash, 30)


def test_without_a_former_one_the_first_version_answers() -> None:
    assert answering(offered(published(FRAUD, 20, taken_over=False))) == (FRAUD.hash, 20)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"by_card": "0" * 16}, "view by_card has changed"),
        ({"by_week": "0" * 16}, "view by_week is gone"),
    ],
)
def test_a_former_one_whose_view_is_not_there_is_refused(changed: dict[str, str], reason: str) -> None:
    former, notes = FEWER, Notes()
    if "by_week" in changed:
        week = FeatureDefinition("week", FieldType.FLOAT, Aggregate("by_week", "mean", "7d", ("card",)))
        former = structs.replace(former, features=(*former.features, week))
    sent = published(former, 60)
    sent.views.update(changed)
    versions = offered(sent, published(FRAUD, 20, taken_over=False), notes=notes)
    assert reason in notes.reasons
    assert answering(versions) == (FRAUD.hash, 20)


def with_views(former: ModelDefinition, loop: LoopDefinition) -> models_pb2.ModelVersion:
    """Return a version as the learner of another loop sends it, with its views."""
    sent = published(former, 60)
    sent.views.update({name: loop.view(name).hash for name in former.view_names})
    sent.view_definitions[:] = [msgspec.json.encode(view) for view in loop.views_of(former)]
    return sent


def other_view(**changes: Any) -> LoopDefinition:
    """Return the loop with another form of a view."""
    views = [structs.replace(view, **changes) if view.name == "by_card" else view for view in LOOP.views]
    return structs.replace(LOOP, views=tuple(views))


async def test_a_former_one_is_asked_with_the_former_form_of_its_view() -> None:
    before = other_view(keep=LOOP.view("by_card").keep * 2)
    versions = offered(with_views(OF_CARD, before), published(FRAUD, 20, taken_over=False))
    assert answering(versions) == (OF_CARD.hash, 60)
    assert versions.current("fraud").selection is None, "its features read the other form"
    rows = FakeRows(history())
    scorer = Scorer(LOOP, versions, Assembler, rows, log=PredictionQueue(10, 2.0), clock=lambda: NOW)
    await scorer.score(Request("fraud", event()))
    assert rows.fields == {row_field(before.view("by_card"), partition) for partition in range(2)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"by": ("town",)}, "field town is gone"), ({"stream": "towns"}, "stream towns is gone")],
)
def test_a_former_one_is_refused_whose_view_cannot_be_folded(changes: dict[str, Any], reason: str) -> None:
    notes = Notes()
    versions = offered(with_views(OF_CARD, other_view(**changes)), published(FRAUD, 20, taken_over=False), notes=notes)
    assert reason in notes.reasons
    assert answering(versions) == (FRAUD.hash, 20)


def test_a_former_one_of_another_task_or_field_is_refused() -> None:
    gone = FeatureDefinition("city", FieldType.STRING, Column("city"))
    notes = Notes()
    offered(published(structs.replace(FRAUD, features=(*FRAUD.features, gone)), 60), notes=notes)
    assert "field city is gone" in notes.reasons
    other_task = structs.replace(WORTH, name="fraud")
    offered(published(other_task, 60), notes=notes)
    assert "its answers are regression, not binary" in notes.reasons


def test_what_is_kept_on_disk_answers_after_a_change(tmp_path: Path) -> None:
    disk = VersionCache(tmp_path)
    before = published(OTHER_LEARNER, 60)
    disk.save({"fraud": before})
    disk.save(Versions(LOOP, Notes()).offer(disk.load()))
    disk.save({"fraud": published(FRAUD, 20, taken_over=False)})
    versions = Versions(LOOP, Notes())
    versions.offer(disk.load())
    assert answering(versions) == (OTHER_LEARNER.hash, 60)


def test_a_selection_finds_the_columns_of_the_other_vector() -> None:
    assert selection(FRAUD, OTHER_LEARNER) is ALL
    assert selection(FRAUD, FEWER) == Selection((3, 0), (0,))
    assert selection(FRAUD, OTHER) is None
    renamed = tuple(structs.replace(feature, alias=f"new_{feature.name}") for feature in FRAUD.features)
    assert selection(structs.replace(FRAUD, features=renamed), FRAUD) is ALL


def scorer_of(versions: Versions, queue: PredictionQueue) -> Scorer:
    return Scorer(LOOP, versions, Assembler, FakeRows(history()), log=queue, clock=lambda: NOW)


async def score(versions: Versions, model: str, body: bytes) -> tuple[float, PredictionQueue]:
    queue = PredictionQueue(100, 2.0)
    scorer = scorer_of(versions, queue)
    one = await scorer.score(Request(model, body, "e1"))
    (many,) = await scorer.score_many([Request(model, body)])
    assert not isinstance(many, Exception)
    assert many.score == one.score
    return one.score, queue


@pytest.mark.parametrize("former", [OTHER_LEARNER, FEWER, OTHER], ids=["learner", "features", "others"])
async def test_the_former_answers_what_it_did_before(former: ModelDefinition) -> None:
    new = structs.replace(LOOP, models=(former, *LOOP.models[1:]))
    before = Versions(new, Notes())
    before.offer([published(former, 60)])
    alone = Scorer(new, before, Assembler, FakeRows(history()), log=PredictionQueue(10, 2.0), clock=lambda: NOW)
    expected = (await alone.score(Request("fraud", event()))).score
    versions = offered(published(former, 60), published(FRAUD, 20, taken_over=False))
    found, queue = await score(versions, "fraud", event())
    assert found == expected
    (message,) = messages(Topics("shop"), queue.take(0.0))
    assert message.properties == header(message.payload, definition=former.hash)
    assert decode_predictions(former, message.payload).scores.tolist() == [expected]


async def test_the_vector_of_a_request_is_learned_by_the_new_definition() -> None:
    count = FeatureDefinition("shop_count", FieldType.FLOAT, Aggregate("by_shop", "count", "1h", ("shop",)))
    former = structs.replace(WORTH, features=(*NUMBERS, count))
    versions = offered(published(former, 60))
    _, queue = await score(versions, "worth", event())
    vectors, predictions = messages(Topics("shop"), queue.take(0.0))
    assert vectors.properties == header(vectors.payload, definition=WORTH.hash, examples=WORTH.examples_hash)
    assert predictions.properties == header(predictions.payload, definition=former.hash)
    assert decode_vectors(WORTH, vectors.payload).ids == ["e1"]
    assert decode_predictions(former, predictions.payload).ids == ["e1"]


async def test_a_request_without_a_new_field_is_answered_and_not_learned() -> None:
    amount = FeatureDefinition("amount", FieldType.FLOAT, Aggregate("by_card", "mean", "1h", ("card",)))
    former = structs.replace(WORTH, features=(amount,))
    scorer = scorer_of(offered(published(former, 60)), queue := PredictionQueue(100, 2.0))
    answer = await scorer.score(Request("worth", event(amount=None), "e1"))
    assert not answer.logged
    (message,) = messages(Topics("shop"), queue.take(0.0))
    assert message.properties == header(message.payload, definition=former.hash)
    with pytest.raises(InvalidEvent, match="card"):
        await scorer.score(Request("worth", event(card=None), "e2"))


async def test_requests_under_way_at_the_switch_are_all_answered() -> None:
    versions = offered(published(OTHER, 60))
    scorer = scorer_of(versions, PredictionQueue(10_000, 2.0))
    tasks = [asyncio.create_task(scorer.score(Request("fraud", event()))) for _ in range(10)]
    await asyncio.sleep(0)
    versions.offer([published(FRAUD, 60)])
    tasks += [asyncio.create_task(scorer.score(Request("fraud", event()))) for _ in range(10)]
    answers = await asyncio.gather(*tasks)
    assert [answer.batch.version.model.hash for answer in answers] == [OTHER.hash] * 10 + [FRAUD.hash] * 10


@pytest.mark.parametrize("former", [OTHER_LEARNER, FEWER], ids=["learner", "features"])
def test_vectors_of_the_stream_are_scored_by_the_former(former: ModelDefinition) -> None:
    versions = offered(published(former, 60))
    batch = scored_vectors.Topic().batch((scored_vectors.vectors(FRAUD, [1, 2]), scored_vectors.properties(1, 20)))
    outcome = StreamScorer(FRAUD, lambda: versions.find("fraud")).score(batch, "features")
    (output,) = outcome.outputs
    assert output.properties["definition"] == former.hash
    found = decode_predictions(former, output.payload)
    columns = [FRAUD.features.index(feature) for feature in former.features if feature.type is FieldType.FLOAT]
    places = [
        [feature for feature in FRAUD.features if feature.type is FieldType.FLOAT].index(FRAUD.features[c])
        for c in columns
    ]
    np.testing.assert_array_equal(found.numbers[1], [2 / 7 + place for place in places])


def test_vectors_that_were_under_way_at_a_change_of_the_learner_are_scored() -> None:
    versions = offered(published(OTHER_LEARNER, 60))
    properties = {"epoch": 1, "release_watermark": 20, "definition": OTHER_LEARNER.hash}
    batch = scored_vectors.Topic().batch((scored_vectors.vectors(FRAUD, [1, 2]), properties))
    assert StreamScorer(FRAUD, lambda: versions.find("fraud")).score(batch, "features").predictions == 2


def test_vectors_that_hold_those_of_the_former_behind_their_own_are_scored_by_who_answers() -> None:
    wide = widened(FRAUD, Former(OTHER))
    properties = scored_vectors.properties(1, 20) | {"former": OTHER.hash}
    batch = scored_vectors.Topic().batch((scored_vectors.vectors(wide, [1, 2]), properties))
    versions = offered(published(OTHER, 60))
    for model, place in ((OTHER, sum(feature.type is FieldType.FLOAT for feature in FRAUD.features)), (FRAUD, 0)):
        outcome = StreamScorer(FRAUD, lambda: versions.find("fraud")).score(batch, "features")
        assert (outcome.predictions, outcome.unscored) == (2, 0)
        (output,) = outcome.outputs
        assert output.properties["definition"] == model.hash
        assert "former" not in output.properties
        assert decode_predictions(model, output.payload).numbers[1, 0] == 2 / 7 + place
        versions.offer([published(FRAUD, 60)])


def test_vectors_that_do_not_hold_those_of_the_former_pass_unscored() -> None:
    versions = offered(published(OTHER, 60))
    batch = scored_vectors.Topic().batch((scored_vectors.vectors(FRAUD, [1, 2]), scored_vectors.properties(1, 20)))
    outcome = StreamScorer(FRAUD, lambda: versions.find("fraud")).score(batch, "features")
    assert (outcome.predictions, outcome.unscored) == (0, 2)
