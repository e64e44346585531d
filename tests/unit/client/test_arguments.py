"""Wrong arguments of the clients: an error names the argument, its value and what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from headrace.client import (
    AsyncIngestClient,
    AsyncScoringClient,
    IngestClient,
    ScoreRequest,
    ScoringClient,
    arguments,
)
from headrace.client.events import encode
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.errors import InvalidEvent, InvalidRequest

# No call that is refused here may reach the address.
ADDRESS = "127.0.0.1:1"
EVENTS = r"events is of type \w+, expected several events"
SECONDS = "expected seconds, 0 or more"
TIME = "expected a datetime, or microseconds since the epoch as a whole number"
REQUEST = r"expected ScoreRequest\(model, event\)"

FIELDS = (Field("id", FieldType.STRING), Field("at", FieldType.TIME), Field("amount", FieldType.FLOAT))
PAID = StreamDefinition("paid", FIELDS, key="id", time="at", id="id", lateness=0, horizon=0)

SCORING: list[tuple[Callable[[Any], Any], str]] = [
    (lambda client: client.score("late", {}, timeout=-1), f"timeout is -1, {SECONDS}"),
    (lambda client: client.score("late", {}, timeout="x"), f"timeout is 'x', {SECONDS}"),
    (lambda client: client.score("late", {}, timeout=float("nan")), f"timeout is nan, {SECONDS}"),
    (lambda client: client.list_models(timeout=True), f"timeout is True, {SECONDS}"),
    (lambda client: client.score(3, {}), "model is 3, expected the name of a model"),
    (lambda client: client.score("late", {}, event_id=3), "event_id is 3, expected the id as a text"),
    (lambda client: client.describe_model(None), "model is None, expected the name of a model"),
    (lambda client: client.vector("late", {}, as_of="2013"), f"as_of is '2013', {TIME}"),
    (lambda client: client.score_batch([("late", {})]), f"a request is of type tuple, {REQUEST}"),
    (lambda client: client.score_batch(ScoreRequest("late", {})), "requests is of type ScoreRequest, expected several"),
    (lambda client: client.score_batch({"late": {}}), "requests is of type dict, expected several"),
]

INGEST: list[tuple[Callable[[Any], Any], str]] = [
    (lambda client: client.mark("clicks", "2013-01-01"), f"until is '2013-01-01', {TIME}"),
    (lambda client: client.mark("clicks", None), f"until is None, {TIME}"),
    (lambda client: client.mark(3, 5), "stream is 3, expected the name of a stream, or its class"),
    (lambda client: client.withdraw_marks("clicks", 1.5), f"until is 1.5, {TIME}"),
    (lambda client: client.publish(int, {}), "stream is <class 'int'>, expected the name of a stream, or its class"),
    (lambda client: client.publish("clicks", {}, timeout=-1), f"timeout is -1, {SECONDS}"),
    (lambda client: client.publish_stream("clicks", [], timeout="x"), f"timeout is 'x', {SECONDS}"),
    (lambda client: client.publish_stream("clicks", [], 0), "batch is 0, expected a whole number, 1 or more"),
    (lambda client: client.publish_stream("clicks", {"id": "a"}), EVENTS),
    (lambda client: client.publish_stream("clicks", b"{}"), EVENTS),
    (lambda client: client.publish_stream("clicks", None), EVENTS),
]


@pytest.mark.parametrize(("call", "message"), SCORING)
def test_a_wrong_argument_of_a_score_is_named(call: Callable[[Any], Any], message: str) -> None:
    with ScoringClient(ADDRESS, retries=0) as client, pytest.raises(InvalidRequest, match=message):
        call(client)


@pytest.mark.parametrize(("call", "message"), SCORING)
async def test_a_wrong_argument_of_an_async_score_is_named(call: Callable[[Any], Any], message: str) -> None:
    async with AsyncScoringClient(ADDRESS, retries=0) as client:
        with pytest.raises(InvalidRequest, match=message):
            await call(client)


@pytest.mark.parametrize(("call", "message"), INGEST)
def test_a_wrong_argument_of_a_publication_is_named(call: Callable[[Any], Any], message: str) -> None:
    with IngestClient(ADDRESS, retries=0) as client, pytest.raises(InvalidRequest, match=message):
        call(client)


@pytest.mark.parametrize(("call", "message"), INGEST)
async def test_a_wrong_argument_of_an_async_publication_is_named(call: Callable[[Any], Any], message: str) -> None:
    async with AsyncIngestClient(ADDRESS, retries=0) as client:
        with pytest.raises(InvalidRequest, match=message):
            await call(client)


@pytest.mark.parametrize("kind", [ScoringClient, AsyncScoringClient, IngestClient, AsyncIngestClient])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timeout": 0}, "timeout is 0, expected seconds, more than 0"),
        ({"timeout": None}, "timeout is None, expected seconds, more than 0"),
        ({"retries": "x"}, "retries is 'x', expected a whole number, 0 or more"),
        ({"retries": 1.5}, "retries is 1.5, expected a whole number, 0 or more"),
        ({"concurrency": 0}, "concurrency is 0, expected a whole number, 1 or more"),
        ({"address": 7070}, "address is 7070, expected host:port of the service"),
        ({"address": ""}, "address is empty, expected host:port of the service"),
        ({"address": "localhost"}, "address is 'localhost', expected host:port of the service"),
        ({"address": "http://localhost:7070"}, "address is 'http://localhost:7070', expected host:port of the service"),
    ],
)
def test_a_wrong_parameter_of_a_client_is_named(kind: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        kind(**{"address": ADDRESS, **changes})


@pytest.mark.parametrize("address", ["localhost:7070", "[::1]:7070", "dns:///scorer:7070", "unix:/run/scorer"])
def test_addresses_of_services(address: str) -> None:
    assert arguments.service_address("address", address) == address


@pytest.mark.parametrize(("number", "text"), [(math.nan, "NaN"), (-math.inf, "-Infinity"), (np.float64("nan"), "NaN")])
def test_a_number_that_is_not_finite_is_named_by_the_service(number: float, text: str) -> None:
    event = encode({"id": "a", "at": datetime(2026, 1, 1, tzinfo=UTC), "amount": number})
    with pytest.raises(InvalidEvent, match=f"field 'amount' is {text}, expected a finite number"):
        StreamCodec(PAID).canonical(event)
    optional = structs.replace(PAID, fields=(*PAID.fields[:2], Field("amount", FieldType.FLOAT, optional=True)))
    if math.isnan(number):
        assert b'"amount":null' in StreamCodec(optional).canonical(event)[0]


def test_a_stream_of_single_requests_is_refused() -> None:
    with ScoringClient(ADDRESS, retries=0) as client, pytest.raises(InvalidRequest, match="expected several"):
        next(client.score_stream(ScoreRequest("late", {})))  # type: ignore[arg-type]


@pytest.mark.parametrize("client", [IngestClient, AsyncIngestClient])
async def test_a_wrong_time_limit_of_an_open_stream_is_named(client: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"timeout is -1, {SECONDS}"):
        client(ADDRESS).stream(timeout=-1)


def test_numbers_of_numpy_are_numbers() -> None:
    assert arguments.moment("as_of", np.int64(7)) == 7
    assert arguments.time_limit("timeout", np.float32(0.5)) == 0.5
    assert arguments.whole_number("batch", np.int32(3), 1) == 3


def test_a_datetime_is_a_time() -> None:
    assert arguments.moment("as_of", datetime(1970, 1, 1, 0, 0, 1)) == 1_000_000
