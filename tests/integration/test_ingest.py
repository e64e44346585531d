"""From a caller to the topic: the ingest service on a real broker and store."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pulsar
import pytest
import redis
from pulsar.schema import Double, JsonSchema, Long, Record, String

from headrace import embedded
from headrace.cli.program import run
from headrace.client import EventStream, IngestClient, PlayResult, Progress, play, send
from headrace.engine.events import StreamCodec
from headrace.engine.marks import MARK, SENDER
from headrace.errors import InvalidEvent, InvalidRequest, Overloaded, Unavailable
from headrace.runtime.pulsar.routing import PARTITION
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from headrace.wire.times import Inactive
from headrace.wire.topics import END
from tests.brokers import Place
from tests.deadline import scaled, until
from tests.integration.ingesting import HOUR, Ingesting, deciding, ingesting, stream


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.store(tmp_path_factory.mktemp("store")) as server:
        yield server.url


@pytest.fixture
def ingest(tmp_path: Path, place: Place, redis_url: str, request: pytest.FixtureRequest) -> Iterator[Ingesting]:
    name = request.node.name.removeprefix("test_").translate({ord(sign): "-" for sign in "_[]"})
    with ingesting(tmp_path, place, redis_url, name, HEADRACE_DECISION_S=str(scaled(5))) as service:
        yield service


def event(id: str = "a", at: object = HOUR, amount: object = 1.5, **more: object) -> dict[str, object]:
    return {"id": id, "at": at, "user": f"u{len(id)}", "amount": amount} | more


def jsons(events: list[dict[str, object]]) -> list[bytes]:
    return [json.dumps(fields).encode() for fields in events]


def test_an_event_is_on_its_topic_when_it_is_answered(ingest: Ingesting) -> None:
    with IngestClient(ingest.address) as client:
        client.publish("clicks", event("a", at="1970-01-01T01:00:00Z"))
    with ingest.client() as client:
        reader = client.create_reader(ingest.topics.stream("clicks"), pulsar.MessageId.earliest)
        message = reader.read_next(5_000)
        assert message.partition_key() == "u1"
        assert json.loads(message.data()) == event("a", at=HOUR, note=None)
        reader.close()


def test_the_valid_events_of_a_stream_go_through_in_order_and_the_others_to_the_dead_letters(ingest: Ingesting) -> None:
    events = jsons([event(str(n), at=HOUR + n) for n in range(5_000)])
    wrong = {
        10: (b"{", "", "not decodable"),
        2_000: (jsons([event(amount="1")])[0], "amount", '"1"'),
        2_001: (b'{"id":"x","at":1,"user":"u","amount":NaN}', "amount", "NaN"),
        4_999: (jsons([event(note="x" * 20_000)])[0], "", "bytes long"),
    }
    for index, (bad, _, _) in wrong.items():
        events[index] = bad
    with IngestClient(ingest.address) as client:
        result = client.publish_stream("clicks", events)
    assert (result.accepted, result.rejected) == (4_996, 4)
    assert [(rejection.index, rejection.error.field) for rejection in result.rejections] == [
        (n, wrong[n][1]) for n in wrong
    ]
    ids = [json.loads(payload)["id"] for payload in ingest.written(ingest.topics.stream("clicks"), 4_996).payloads]
    assert ids == [str(n) for n in range(5_000) if n not in wrong]
    letters = ingest.dead_letters(4)
    assert [(letter.stream, letter.field, letter.event, letter.service) for letter in letters] == [
        ("clicks", field, bad, "ingest") for bad, field, _ in wrong.values()
    ]
    assert all(value in letter.value for letter, (_, _, value) in zip(letters, wrong.values(), strict=True))
    assert all(letter.expected and letter.refused_at for letter in letters)


def test_an_invalid_event_raises_what_is_wrong_with_it(ingest: Ingesting) -> None:
    with IngestClient(ingest.address) as client:
        with pytest.raises(InvalidEvent) as raised:
            client.publish("clicks", event(amount="much"))
        assert (raised.value.field, raised.value.value, raised.value.expected) == (
            "amount",
            '"much"',
            "a finite number",
        )
        with pytest.raises(InvalidRequest, match="'visits', expected one of clicks, buys"):
            client.publish("visits", event())
    assert [letter.field for letter in ingest.dead_letters(1)] == ["amount"]


def test_watermarks_stand_between_the_events(ingest: Ingesting) -> None:
    with IngestClient(ingest.address) as client, client.stream() as open_stream:
        open_stream.send("clicks", jsons([event("a")]), mark=7)
        open_stream.send("buys", jsons([event("b")]))
        open_stream.send("clicks", jsons([event("c")]))
        open_stream.send("clicks", (), end=True)
        assert open_stream.finish().accepted == 3
    clicks = ingest.written(ingest.topics.stream("clicks"), 4)
    assert [json.loads(payload)["id"] if payload else None for payload in clicks.payloads] == ["a", None, "c", None]
    mark, end = clicks.properties[1::2]
    assert mark.pop(SENDER).startswith("client:")
    assert [mark, end] == [{MARK: "7", PARTITION: "0"}, {END: "1", PARTITION: "0"}]


def test_many_callers_at_once_are_all_answered(ingest: Ingesting) -> None:
    failures: list[BaseException] = []

    def publish(caller: int) -> None:
        try:
            for n in range(25):
                client.publish("clicks", event(f"{caller}-{n}"))
        except BaseException as error:
            failures.append(error)

    with IngestClient(ingest.address) as client:
        callers = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert failures == []
    ids = [json.loads(payload)["id"] for payload in ingest.written(ingest.topics.stream("clicks"), 200).payloads]
    assert len(set(ids)) == len(ids) == 200
    for caller_ in range(8):
        assert [id for id in ids if id.startswith(f"{caller_}-")] == [f"{caller_}-{n}" for n in range(25)]


def test_a_stuck_broker_pushes_back_and_what_failed_can_be_sent_again(
    tmp_path: Path, place: Place, redis_url: str
) -> None:
    broker = place.stoppable()
    limits = {"HEADRACE_PATIENCE_S": "1", "HEADRACE_IN_FLIGHT_BYTES": "200000"}
    sent = 0

    def endless() -> Iterator[dict[str, object]]:
        nonlocal sent
        for sent in range(1_000_000):
            yield event(f"{sent:06}", at=HOUR + sent, note="x" * 8_000)

    with ingesting(tmp_path, place, redis_url, "stuck", **limits) as ingest:
        with IngestClient(ingest.address) as client:
            client.publish("clicks", event("first"))
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                with pytest.raises(Unavailable):
                    client.publish_stream("clicks", endless(), batch=100)
                # The connection's own buffers hold all that was sent.
                assert sent < 10_000
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            resent = list(islice(endless(), 1_000))

            def again() -> bool:
                try:
                    return client.publish_stream("clicks", resent).accepted == len(resent)
                except Unavailable:
                    return False

            until(again)
        ids = [json.loads(payload)["id"] for payload in ingest.written(ingest.topics.stream("clicks"), 1_001).payloads]
    # The first of each id counts, and those are complete and in order.
    assert list(dict.fromkeys(ids))[:1_001] == ["first", *(item["id"] for item in resent)]


def send_until_it_fails(open_stream: EventStream) -> None:
    for n in range(100_000):
        open_stream.send("clicks", jsons([event(str(n))]))


def test_a_service_that_is_killed_is_told_to_its_callers(ingest: Ingesting) -> None:
    with IngestClient(ingest.address) as client, client.stream() as open_stream:
        open_stream.send("clicks", jsons([event("a")]))
        until(lambda: len(ingest.written(ingest.topics.stream("clicks"))))
        ingest.process.kill()
        with pytest.raises(Unavailable, match=f"ingest at {ingest.address} does not answer"):
            send_until_it_fails(open_stream)


def test_the_service_tells_what_it_does_and_leaves_the_board_when_it_ends(ingest: Ingesting) -> None:
    with IngestClient(ingest.address) as client:
        client.publish_stream("buys", [event("a"), b"?", event("b")])
    expected = {"accepted": 2, "accepted:buys": 2, "rejected": 1, "rejected:buys": 1, "dead_letters": 1}
    status = until(ingest.status, lambda status: status is not None and status.counters == expected)
    assert status is not None
    assert (status.state, status.address) == ("ready", ingest.address)
    ingest.process.send_signal(signal.SIGTERM)
    assert ingest.process.wait(scaled(30)) == 0
    assert ingest.status() is None


class clicks(Record):  # type: ignore[misc]  # noqa: N801
    """The stream's schema, as users write it."""

    id = String(required=True)
    at = Long(required=True)
    user = String(required=True)
    amount = Double(required=True)
    note = String()


def test_a_producer_of_any_pulsar_client_writes_events(ingest: Ingesting) -> None:
    topic = ingest.topics.stream("clicks")
    client = pulsar.Client(ingest.place.url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    producer = client.create_producer(topic, schema=JsonSchema(clicks))
    producer.send(clicks(id="a", at=HOUR, user="u", amount=2.5), partition_key="u")
    client.close()
    with IngestClient(ingest.address) as sender:
        sender.publish("clicks", event("b"))
    events, valid, invalid = StreamCodec(stream("clicks")).columns(ingest.written(topic, 2).payloads)
    assert (events.ids, events.times.tolist(), valid, invalid) == (["a", "b"], [HOUR, HOUR], [0, 1], [])


def test_send_sends_a_file_and_names_the_lines_that_are_no_events(
    ingest: Ingesting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clicks.csv.gz"
    path.write_bytes(
        gzip.compress(b"id,at,user,amount\na,3600000000,u,1\nb,3600000000,u,one\nc,1970-01-01T01:00,u,2\n")
    )
    options = ["--redis", ingest.redis_url, "--loop", ingest.loop.name, "--definition", str(ingest.loop_json)]
    with deciding(ingest):
        assert run(["send", "clicks", str(path), "--json", *options]) == 4
    out, err = capsys.readouterr()
    counts = {"accepted": 2, "repeats": 0, "rejected": 1, "late": 0, "undecided": 0}
    assert json.loads(out) == {"stream": "clicks", "sent": 3, **counts}
    assert err == f"rejected {path}:3: field 'amount' is \"one\", expected a finite number\n"
    letters = ingest.dead_letters(1)
    assert [(letter.field, letter.value, json.loads(letter.event)["id"]) for letter in letters] == [
        ("amount", '"one"', "b")
    ]
    assert run(["send", "click", str(path), *options]) == 4


def test_play_merges_files_and_tells_the_outcome(
    ingest: Ingesting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, start in (("clicks", 0), ("buys", 1)):
        lines = [json.dumps(event(f"{name}{n}", at=HOUR + n * 10 + start)) for n in range(50)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*lines, "{"]))
    options = ["--redis", ingest.redis_url, "--loop", ingest.loop.name, "--definition", str(ingest.loop_json)]
    sources = [f"{name}={tmp_path / name}.jsonl" for name in ("buys", "clicks")]
    with deciding(ingest):
        assert run(["play", *sources, "--json", "--limit", "99", *options]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert {name: outcome[name] for name in ("sent", "accepted", "rejected")} == {
        "sent": 99,
        "accepted": 99,
        "rejected": 0,
    }
    assert (outcome["first_time"], outcome["last_time"]) == (HOUR, HOUR + 490)
    for name, count in (("clicks", 50), ("buys", 49)):
        batch = ingest.written(ingest.topics.stream(name), count + 1)
        ids = [json.loads(payload)["id"] for payload in batch.payloads if payload]
        assert ids == [f"{name}{n}" for n in range(count)]
        assert END in batch.properties[-1]
    with deciding(ingest):
        assert run(["play", *sources, *options]) == 4
    out, err = capsys.readouterr()
    assert "played 102 events" in out
    assert "1 accepted, 99 sent before, 2 rejected" in out
    assert f"rejected {tmp_path / 'clicks'}.jsonl:51: the event is not decodable" in err


def test_play_waits_for_the_loop(ingest: Ingesting, tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_text("\n".join(json.dumps(event(str(n), at=HOUR + n)) for n in range(1_000)))
    results: list[PlayResult] = []
    reports: list[Progress] = []

    def run_play() -> None:
        results.append(
            play(
                ingest.loop,
                [(path, "clicks")],
                ingest.address,
                ingest.redis_url,
                ahead=300,
                on_progress=reports.append,
            )
        )

    def accepted() -> int:
        status = ingest.status()
        return status.counters.get("accepted", 0) if status else 0

    with redis.Redis.from_url(ingest.redis_url) as store:
        board = StatusBoard(store, ingest.loop.name)
        board.write(ServiceStatus(service="feature", instance="f", watermark=0))
        player = threading.Thread(target=run_play)
        player.start()
        assert until(accepted, lambda count: count >= 300) == 300
        # The loop has processed half of it.
        board.write(ServiceStatus(service="feature", instance="f", watermark=HOUR + 299))
        assert until(accepted, lambda count: count > 300) == 600
        board.write(ServiceStatus(service="feature", instance="f", watermark=Inactive.ENDED))
        player.join(scaled(60))
    # No worker owns the partition: the events are stored, but not decided on.
    assert [(result.accepted, result.undecided, result.stalls) for result in results] == [(0, 1_000, 0)]
    assert max(progress.behind or 0 for progress in reports) == 300


def test_sending_again_is_safe_after_the_service_was_gone(ingest: Ingesting, tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_text(json.dumps(event("a")))
    ingest.process.kill()
    ingest.process.wait(scaled(30))
    with pytest.raises(Unavailable):
        send(stream("clicks"), [path], ingest.address)
    assert issubclass(Overloaded, Unavailable)
