"""The scorer's process: gRPC, the models topic, the features topic, and its logs."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace import embedded
from headrace.v1 import (
    dead_letter_pb2,
    features_pb2,
    features_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    scoring_pb2,
    scoring_pb2_grpc,
)
from headrace.wire.tables import decode_predictions, decode_vectors
from tests.brokers import Place
from tests.deadline import scaled, until
from tests.integration.scoring import Running, running
from tests.support.scored_vectors import properties, vectors
from tests.unit.scorer.support import FRAUD, NOW, SECOND, SORT, WORTH, event, version

AT = NOW - 10 * SECOND


@pytest.fixture(scope="module")
def scorer(module_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("scorer")
    with embedded.store(directory) as store, running(directory, module_place, store) as service:
        with pytest.raises(grpc.RpcError) as failure:
            service.scoring.Score(asked())
        assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "no version yet" in failure.value.details()
        # A scorer without a version lets vectors pass, and reports how many.
        service.send(service.topics.features("fraud"), [(vectors(FRAUD, [1, 2]), properties(1, 20))])
        until(lambda: service.counter("unscored") == 2)
        service.publish(version(FRAUD), version(WORTH))
        yield service


def asked(model: str = "fraud", id: str = "", explain: bool = False, **changes: object) -> scoring_pb2.ScoreRequest:
    return scoring_pb2.ScoreRequest(model=model, event=event(at=AT, **changes), event_id=id, explain=explain)


def test_a_score_names_its_version_and_explains_itself_when_asked(scorer: Running) -> None:
    plain = scorer.scoring.Score(asked())
    assert 0 < plain.score < 1
    assert (plain.version.model, plain.version.definition, plain.version.examples) == ("fraud", FRAUD.hash, 60)
    assert not plain.vector
    assert not plain.degradations
    explained = scorer.scoring.Score(asked(explain=True, kind=None))
    values = {value.name: value for value in explained.vector}
    assert list(values) == [feature.name for feature in FRAUD.features]
    assert values["card_mean"].number > 0
    assert values["card_mean"].age == 50 * SECOND
    assert values["kind"].WhichOneof("value") is None
    assert not values["amount"].HasField("age")


@pytest.mark.parametrize(
    ("request_", "code", "names"),
    [
        (scoring_pb2.ScoreRequest(model="none", event=event()), grpc.StatusCode.NOT_FOUND, "fraud, worth, sort"),
        (asked(card=None), grpc.StatusCode.INVALID_ARGUMENT, "'card' is missing"),
        (asked("sort"), grpc.StatusCode.FAILED_PRECONDITION, "no version yet"),
    ],
)
def test_what_is_wrong_gets_its_status(
    scorer: Running, request_: scoring_pb2.ScoreRequest, code: grpc.StatusCode, names: str
) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        scorer.scoring.Score(request_)
    assert failure.value.code() is code
    assert names in failure.value.details()


def test_batch_and_stream_answer_in_order_each_in_its_place(scorer: Running) -> None:
    wanted = [asked(), asked(amount=None), asked("worth", card="c2"), asked("none")] * 30
    batch = scorer.scoring.ScoreBatch(scoring_pb2.ScoreBatchRequest(requests=wanted)).results
    stream = scorer.scoring.ScoreStream(scoring_pb2.ScoreStreamRequest(request=request) for request in wanted)
    results = [reply.result for reply in stream]
    assert len(batch) == len(results) == len(wanted)
    alone = [scorer.scoring.Score(asked()).score, scorer.scoring.Score(asked("worth", card="c2")).score]
    for found in (batch, results):
        assert [result.error.code for result in found[:4]] == [0, 3, 0, 5]
        assert [result.response.score for result in found[0::4]] == pytest.approx([alone[0]] * 30, rel=1e-13)
        assert [result.response.score for result in found[2::4]] == pytest.approx([alone[1]] * 30, rel=1e-13)


def test_a_vector_is_read_as_of_a_time(scorer: Running) -> None:
    features = features_pb2_grpc.FeatureServiceStub(scorer.channel)  # type: ignore[no-untyped-call]
    found = features.GetVector(features_pb2.GetVectorRequest(model="sort", event=event(), as_of=AT))
    assert found.as_of == AT
    assert {value.name: value.age for value in found.vector if value.HasField("age")}["shop_mean"] == 20 * SECOND
    later = features.GetVector(features_pb2.GetVectorRequest(model="sort", event=event()))
    assert later.as_of > NOW


def test_models_are_listed_and_described(scorer: Running) -> None:
    models = models_pb2_grpc.ModelServiceStub(scorer.channel)  # type: ignore[no-untyped-call]
    listed = {model.name: model for model in models.ListModels(models_pb2.ListModelsRequest()).models}
    assert list(listed) == ["fraud", "worth", "sort"]
    assert listed["worth"].examples == 60
    assert not listed["sort"].HasField("examples")
    described = models.DescribeModel(models_pb2.DescribeModelRequest(model="fraud"))
    assert (described.summary.task, described.summary.definition) == ("binary", FRAUD.hash)
    assert [(feature.name, feature.type) for feature in described.features][2] == ("kind", "string")
    assert described.metrics["accuracy"] == 0.75
    assert list(described.classes) == ["False", "True"]
    with pytest.raises(grpc.RpcError) as failure:
        models.DescribeModel(models_pb2.DescribeModelRequest(model="none"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


def test_it_says_that_it_serves(scorer: Running) -> None:
    health = health_pb2_grpc.HealthStub(scorer.channel)
    for name in ("", "headrace.v1.ScoringService", "inference.GRPCInferenceService"):
        assert (
            health.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
        )


def test_versions_are_swapped_under_load_without_a_failed_request(scorer: Running) -> None:
    versions = [version(FRAUD, examples) for examples in range(61, 71)]

    async def load() -> list[int]:
        seen: list[int] = []
        done = asyncio.Event()
        async with grpc.aio.insecure_channel(scorer.address) as channel:
            stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]

            async def ask() -> None:
                while not done.is_set():
                    seen.append((await stub.Score(asked())).version.examples)

            askers = [asyncio.create_task(ask()) for _ in range(8)]
            for version in versions:
                await asyncio.to_thread(scorer.publish, version)
            before = len(seen)
            while len(seen) < before + 50:
                await asyncio.sleep(0)
            done.set()
            await asyncio.gather(*askers)
        return seen

    seen = asyncio.run(load())
    assert seen[-1] == 70
    assert set(seen) >= {version.examples for version in versions} - {61}
    assert len(list(itertools.groupby(sorted(seen)))) >= 9


def test_the_features_topic_is_scored_with_its_epochs_and_watermarks(scorer: Running) -> None:
    before = scorer.counter("predictions")
    scorer.send(
        scorer.topics.features("fraud"),
        [
            (vectors(FRAUD, [3, 4, 5]), properties(1, 50)),
            (b"", properties(2, marker=True)),
            (vectors(FRAUD, [6]), properties(1, 60)),
            (vectors(FRAUD, [5, 6, 7]), properties(2, 70)),
        ],
    )
    until(lambda: scorer.counter("predictions") == before + 6)
    found = scorer.read(
        scorer.topics.predictions("fraud"),
        lambda messages: any(message.properties().get("release_watermark") == "70" for message in messages),
    )
    streamed = [message for message in found if "epoch" in message.properties()]
    ids = [
        (id, message.properties()["epoch"])
        for message in streamed
        if message.data()
        for id in decode_predictions(FRAUD, message.data()).ids
    ]
    # Readers drop what the new owner repeats.
    assert ids == [("e3", "1"), ("e4", "1"), ("e5", "1"), ("e5", "2"), ("e6", "2"), ("e7", "2")]
    assert "1" in {message.properties().get("marker") for message in streamed}
    until(lambda: scorer.status is not None and scorer.status.watermark == 70)


def test_what_cannot_be_read_becomes_a_dead_letter(scorer: Running) -> None:
    scorer.send(scorer.topics.features("fraud"), [(b"junk", properties(2)), (vectors(FRAUD, [8]), properties(2, 80))])
    (message,) = scorer.read(scorer.topics.dead_letters, lambda messages: len(messages) == 1)
    letter = dead_letter_pb2.DeadLetter.FromString(message.data())
    assert (letter.event, letter.service, letter.topic) == (b"junk", "scorer", scorer.topics.features("fraud"))
    until(lambda: scorer.status is not None and scorer.status.watermark == 80)


def test_a_named_request_is_logged_with_its_vector(scorer: Running) -> None:
    answers = {f"r{n}": scorer.scoring.Score(asked("worth", f"r{n}", amount=float(n))).score for n in range(5)}
    scorer.scoring.Score(asked("worth"))
    scorer.scoring.Score(asked("fraud", "r9"))

    def logged(messages: list) -> bool:  # type: ignore[type-arg]
        return sum(len(decode_predictions(WORTH, message.data())) for message in messages) >= 5

    served = [
        decode_predictions(WORTH, message.data()) for message in scorer.read(scorer.topics.predictions("worth"), logged)
    ]
    assert {
        id: score for predictions in served for id, score in zip(predictions.ids, predictions.scores, strict=True)
    } == answers
    found = scorer.read(
        scorer.topics.features("worth"),
        lambda messages: sum(len(decode_vectors(WORTH, m.data())) for m in messages) >= 5,
    )
    parts = [decode_vectors(WORTH, message.data()) for message in found]
    assert [id for part in parts for id in part.ids] == list(answers)
    assert {time for part in parts for time in part.times.tolist()} == {AT}
    assert all("epoch" not in message.properties() for message in found)
    scorer.read(
        scorer.topics.predictions("fraud"),
        lambda messages: any(
            "epoch" not in m.properties() and decode_predictions(FRAUD, m.data()).ids == ["r9"] for m in messages
        ),
    )
    assert SORT.name not in (scorer.status.versions if scorer.status else {})


def test_it_ends_cleanly_with_nothing_left_to_log(scorer: Running) -> None:
    assert scorer.scoring.Score(asked("worth", "last")).score
    scorer.process.send_signal(signal.SIGTERM)
    assert scorer.process.wait(scaled(20)) == 0
    assert scorer.status is None
    found = scorer.read(
        scorer.topics.predictions("worth"),
        lambda messages: "last" in [id for m in messages for id in decode_predictions(WORTH, m.data()).ids],
    )
    assert found
