"""The scorer while its store or its broker is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from headrace import embedded
from headrace.embedded import Store
from headrace.v1 import scoring_pb2
from headrace.wire.deduplication import Accepted
from headrace.wire.tables import decode_predictions
from tests.brokers import Place
from tests.deadline import scaled, until
from tests.integration.scoring import Running, running
from tests.support.scored_vectors import properties, vectors
from tests.unit.scorer.support import FRAUD, NOW, event, version


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def store(directory: Path) -> Iterator[Store]:
    with embedded.store(directory) as server:
        yield server


def asked(id: str = "") -> scoring_pb2.ScoreRequest:
    return scoring_pb2.ScoreRequest(model="fraud", event=event(at=NOW), event_id=id, explain=True)


def card_mean(answer: scoring_pb2.ScoreResponse) -> scoring_pb2.ScoreResponse:
    return next(value for value in answer.vector if value.name == "card_mean")


def test_the_store_down_and_up_again(directory: Path, place: Place, store: Store) -> None:
    with (
        running(directory, place, store) as failing,
        running(directory, place, store, HEADRACE_STORE_DOWN="missing") as degrading,
    ):
        failing.publish(version(FRAUD))
        before = until(lambda: _answer(degrading))
        assert failing.scoring.Score(asked()).score == before.score
        store.kill()
        with pytest.raises(grpc.RpcError) as failure:
            failing.scoring.Score(asked())
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "store" in failure.value.details()
        without = degrading.scoring.Score(asked())
        assert list(without.degradations) == [scoring_pb2.DEGRADATION_STORE_UNAVAILABLE]
        assert card_mean(without).WhichOneof("value") is None
        store.start()
        until(lambda: _answer(failing))
        until(lambda: not degrading.scoring.Score(asked()).degradations)
        assert failing.scoring.Score(asked()).score == degrading.scoring.Score(asked()).score == before.score


def _answer(scorer: Running) -> scoring_pb2.ScoreResponse | None:
    try:
        return scorer.scoring.Score(asked())
    except grpc.RpcError:
        return None


def test_the_broker_down_and_up_again(directory: Path, place: Place, store: Store) -> None:
    broker = place.stoppable()
    limits = {"HEADRACE_LOG_PATIENCE": "0.5", "HEADRACE_LOG_QUEUE": "50"}
    with running(directory, place, store, **limits) as scorer:
        scorer.publish(version(FRAUD, 61))
        assert not scorer.scoring.Score(asked("before")).degradations
        broker.kill()
        logged_ids = ["before"]
        for number in range(10_000):
            answer = scorer.scoring.Score(asked(f"while down {number}"))
            assert 0 < answer.score < 1
            if answer.degradations:
                break
            logged_ids.append(f"while down {number}")
        assert list(answer.degradations) == [scoring_pb2.DEGRADATION_NOT_LOGGED]
        # Exactly that many wait in memory: each of them was promised to be logged.
        assert len(logged_ids) <= 1 + 50
        assert not scorer.scoring.Score(asked()).degradations, "what is not named is not logged anyway"
        until(lambda: scorer.counter("not_logged") >= 1)
        broker.start()
        until(lambda: not scorer.scoring.Score(asked("after")).degradations, seconds=60)

        def all_there(messages: list) -> bool:  # type: ignore[type-arg]
            ids = [id for message in messages if message.data() for id in decode_predictions(FRAUD, message.data()).ids]
            return {*logged_ids, "after"} <= set(ids)

        scorer.read(scorer.topics.predictions("fraud"), all_there)


def test_a_scorer_that_starts_while_the_broker_is_away_answers_with_what_it_kept(
    tmp_path: Path, place: Place, store: Store
) -> None:
    broker = place.stoppable()
    data = {"HEADRACE_DATA": str(tmp_path / "data")}
    with running(tmp_path, place, store, **data) as scorer:
        scorer.publish(version(FRAUD, 61))
        before = scorer.scoring.Score(asked())
    broker.kill()
    try:
        with running(tmp_path, place, store, **data) as scorer:
            answer = scorer.scoring.Score(asked())
            assert (answer.score, answer.version.examples) == (before.score, 61)
    finally:
        broker.start()


def test_a_second_scorer_takes_over_where_the_first_one_ends(tmp_path: Path, place: Place) -> None:
    with embedded.store(tmp_path) as store:
        with running(tmp_path, place, store) as first:
            first.publish(version(FRAUD))
            first.send(first.topics.features("fraud"), [(vectors(FRAUD, range(40)), properties(1, 10))])
            until(lambda: first.counter("predictions") == 40)
            with running(tmp_path, place, store) as second:
                until(lambda: second.status and second.status.versions)
                later = [(vectors(FRAUD, range(n, n + 10)), properties(1, n)) for n in range(40, 400, 10)]
                first.send(first.topics.features("fraud"), later[:18])
                first.process.terminate()
                assert first.process.wait(scaled(20)) == 0
                second.send(second.topics.features("fraud"), later[18:])
                read = second.read(
                    second.topics.predictions("fraud"),
                    lambda messages: any(
                        message.properties().get("release_watermark") == "390" for message in messages
                    ),
                )
        accepted, ids, sent = Accepted(), [], []
        for message in read:
            found = decode_predictions(FRAUD, message.data())
            sent += found.ids
            rows = accepted.take(int(message.properties()["epoch"]), found.positions)
            ids += [found.ids[place] for place in rows]
        assert ids == [f"e{n}" for n in range(400)]
        assert sent.count("e0") == 1, "what was acknowledged is not scored again"


def test_two_scorers_share_the_work_after_a_silence(tmp_path: Path, place: Place) -> None:
    with embedded.store(tmp_path) as store, running(tmp_path, place, store) as first:
        first.publish(version(FRAUD))
        topic = first.topics.features("fraud")
        with running(tmp_path, place, store) as second:
            until(lambda: second.status and second.status.versions)
            first.send(topic, [(vectors(FRAUD, range(10)), properties(1, 10))])
            until(lambda: scored(first, second) == 10)
            # A scorer without messages has looked several times whether another one works.
            reached(time.monotonic() + 9)
            for number in range(10, 20):
                soonest = time.monotonic() + 0.5
                first.send(topic, [(vectors(FRAUD, [number]), properties(1, number))])
                until(lambda: scored(first, second) > number)  # noqa: B023
                reached(soonest)
            assert scored(first, second) == 20


def scored(*scorers: Running) -> int:
    return sum(scorer.counter("predictions") for scorer in scorers)


def reached(moment: float) -> None:
    until(lambda: time.monotonic() >= moment)
