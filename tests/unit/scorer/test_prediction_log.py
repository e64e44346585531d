"""Logging what was served: bounded in number and in waiting time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from headrace.errors import NoModelYet
from headrace.wire.position import Position
from headrace.wire.tables import decode_predictions, decode_vectors
from headrace.wire.topics import Topics
from headrace_scorer.pulsar.prediction_log import PredictionQueue, PredictionSender, messages
from headrace_scorer.scorer import Answer, Request
from tests.headers import header
from tests.support.fake_topic import Topic
from tests.unit.scorer.support import FRAUD, NOW, SORT, WORTH, event, scorer, version, versions

TOPICS = Topics("shop")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def answers(model: str, count: int) -> list[Answer]:
    async def ask() -> list[Answer]:
        service = scorer(versions(version(FRAUD), version(WORTH), version(SORT)))
        found = await service.score_many([Request(model, event(amount=float(n)), f"e{n}") for n in range(count)])
        return [answer for answer in found if isinstance(answer, Answer)]

    return asyncio.run(ask())


def queue(size: int = 10, clock: Clock | None = None) -> PredictionQueue:
    return PredictionQueue(size, 2.0, clock or Clock())


def test_no_more_than_its_size_is_taken() -> None:
    backlog, (batch, *_) = queue(5), [answer.batch for answer in answers("fraud", 3)]
    assert backlog.offer(batch, range(3))
    assert not backlog.offer(batch, range(3)), "all of a batch, or none"
    assert backlog.offer(batch, range(2))
    assert len(backlog) == 5
    assert len(backlog.take(0.0)) == 5
    assert not backlog.offer(batch, range(1)), "what is being sent still takes its room"
    backlog.sent()
    assert backlog.offer(batch, range(1))


def test_once_the_broker_is_silent_for_long_nothing_more_is_taken_until_it_is_back() -> None:
    clock = Clock()
    backlog, (batch, *_) = queue(10, clock), [answer.batch for answer in answers("fraud", 1)]
    assert backlog.offer(batch, [0])
    clock.now += 1.9
    assert backlog.offer(batch, [0])
    backlog.take(0.0)
    clock.now += 0.2
    assert not backlog.offer(batch, [0])
    backlog.sent()
    assert backlog.offer(batch, [0])


def test_a_closed_queue_takes_nothing_and_is_finished_once_all_is_sent() -> None:
    backlog, (batch, *_) = queue(), [answer.batch for answer in answers("fraud", 1)]
    backlog.offer(batch, [0])
    backlog.close()
    assert not backlog.offer(batch, [0])
    assert not backlog.finished
    backlog.take(0.0)
    backlog.sent()
    assert backlog.finished


def entries(model: str, count: int) -> PredictionQueue:
    backlog = queue(100)
    for answer in answers(model, count):
        backlog.offer(answer.batch, [answer.row])
    return backlog


def test_a_model_fed_by_its_stream_has_its_predictions_logged() -> None:
    (message,) = messages(TOPICS, entries("fraud", 3).take(0.0))
    assert message.topic == TOPICS.predictions("fraud")
    assert message.properties == header(message.payload, definition=FRAUD.hash)
    found = decode_predictions(FRAUD, message.payload)
    assert found.ids == ["e0", "e1", "e2"]
    assert found.times.tolist() == [NOW] * 3
    assert found.versions.tolist() == [60] * 3
    assert found.positions == [bytes(20)] * 3 == [Position(-1, -1, -1).to_bytes()] * 3
    assert found.categories == [["web"] * 3]
    assert found.scores.tolist() == [answer.score for answer in answers("fraud", 3)]


def test_a_model_fed_by_requests_has_its_vectors_logged_first() -> None:
    vectors, predictions = messages(TOPICS, entries("worth", 2).take(0.0))
    assert (vectors.topic, predictions.topic) == (TOPICS.features("worth"), TOPICS.predictions("worth"))
    found, served = decode_vectors(WORTH, vectors.payload), decode_predictions(WORTH, predictions.payload)
    assert found.ids == served.ids == ["e0", "e1"]
    np.testing.assert_array_equal(found.numbers, served.numbers)
    assert found.cuts.shape == (2, 4, 3)
    assert (found.cuts >= -1).all()


def test_what_a_model_is_asked_before_its_first_version_is_logged_for_it_to_learn_from() -> None:
    """Otherwise a model whose vectors come from requests would never have a first version."""
    backlog = queue()

    async def ask() -> list[object]:
        unlearned = scorer(versions(version(FRAUD)), log=backlog)  # type: ignore[arg-type]
        found: list[object] = await unlearned.score_many([Request("worth", event(amount=1.0), "e0")])
        with pytest.raises(NoModelYet):
            await unlearned.score(Request("worth", event(amount=2.0), "e1"))
        with pytest.raises(NoModelYet):
            await unlearned.score(Request("worth", event(amount=3.0)))
        with pytest.raises(NoModelYet):
            await unlearned.score(Request("sort", event(amount=4.0), "e3"))
        return found

    assert [type(answer) for answer in asyncio.run(ask())] == [NoModelYet]
    (vectors,) = messages(TOPICS, backlog.take(0.0))
    assert vectors.topic == TOPICS.features("worth")
    assert decode_vectors(WORTH, vectors.payload).ids == ["e0", "e1"]


def test_models_do_not_share_a_message() -> None:
    backlog = queue(100)
    for model in ("fraud", "sort"):
        for answer in answers(model, 2):
            backlog.offer(answer.batch, [answer.row])
    first, second = messages(TOPICS, backlog.take(0.0))
    assert decode_predictions(FRAUD, first.payload).labels is None
    labels = decode_predictions(SORT, second.payload).labels
    assert labels is not None
    assert set(labels) <= {"a", "b", "c"}


def test_a_prediction_that_is_too_large_holds_up_no_other() -> None:
    backlog, broker, sent = queue(), Topic(most=20_000), list[int]()
    found = answers("fraud", 3)
    for answer, id in zip(found, ("a", "b" * 60_000, "c"), strict=True):
        backlog.offer(replace(answer.batch, ids=[id]), [0])
    backlog.close()
    sender = PredictionSender(broker, TOPICS, backlog, sent.append)  # type: ignore[arg-type]
    sender.run()
    assert backlog.finished
    assert (sender.refused, sum(sent)) == (1, 2)
    assert {id for payload in broker.taken for id in decode_predictions(FRAUD, payload).ids} == {"a", "c"}
