"""Errors of services arrive at clients as what they were."""

from __future__ import annotations

import grpc
import pytest

from headrace.client.failures import Peer, error_of_code, error_of_status
from headrace.errors import (
    CorruptState,
    DeadlineExceeded,
    HeadraceError,
    Implausible,
    InvalidEvent,
    InvalidRequest,
    NoModelYet,
    Overloaded,
    Unavailable,
    UnknownName,
    all_of,
)
from headrace.runtime.grpc.server import status_of

PEER = Peer("scorer", "here:1")


@pytest.mark.parametrize(
    "error",
    [
        InvalidEvent("amount", '"much"', "a finite number"),
        InvalidEvent("it's", "null", "a string"),
        InvalidEvent("", "not decodable", "a JSON object in UTF-8"),
        all_of([InvalidEvent("a", "null", "a string"), InvalidEvent("b", "1", "true or false")]),
        InvalidRequest("event_id", "4,000 characters long", "at most 1,024 bytes"),
        InvalidRequest("mark", "3", "a time\nof two lines, expected or not"),
        UnknownName("model", "frud", ("fraud", "worth")),
        NoModelYet("fraud"),
        Implausible("fraud", 60, "NaN, expected 0 to 1"),
    ],
)
def test_an_error_arrives_with_its_kind_its_parts_and_its_text(error: HeadraceError) -> None:
    status, message = status_of(error)
    for arrived in (error_of_status(status, message, PEER), error_of_code(status.value[0], message, PEER)):
        assert type(arrived) is type(error)
        assert (str(arrived), vars(arrived)) == (str(error), vars(error))


def test_a_refusal_of_another_form_keeps_its_text() -> None:
    arrived = error_of_status(grpc.StatusCode.INVALID_ARGUMENT, "no good", PEER)
    assert type(arrived) is InvalidRequest
    assert (str(arrived), arrived.field) == ("no good", "")
    assert str(error_of_status(grpc.StatusCode.FAILED_PRECONDITION, "not so", PEER)) == "not so"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.UNIMPLEMENTED, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.CANCELLED, Overloaded),
        (grpc.StatusCode.DATA_LOSS, CorruptState),
        (grpc.StatusCode.INTERNAL, HeadraceError),
    ],
)
def test_a_status_names_the_service(status: grpc.StatusCode, kind: type[HeadraceError]) -> None:
    arrived = error_of_status(status, "because", PEER)
    assert type(arrived) is kind
    assert "scorer at here:1" in str(arrived)
    assert "because" in str(arrived)


def test_a_message_that_is_too_large_is_not_sent_again() -> None:
    message = "SERVER: Received message larger than max (20000000 vs. 16777216)"
    arrived = error_of_status(grpc.StatusCode.RESOURCE_EXHAUSTED, message, PEER)
    assert str(arrived) == "the message is of 20,000,000 bytes, expected at most 16,777,216: send several requests"


def test_an_unknown_code_is_an_error_all_the_same() -> None:
    assert "UNKNOWN: odd" in str(error_of_code(999, "odd", PEER))
