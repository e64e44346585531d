"""Which marks a stream accepts, and what they say."""

from __future__ import annotations

import pytest

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.marks import CONFIRMED, MARK, SENDER, WITHDRAWN, Mark, mark_of, properties_of, refusal_of

DAY = 86_400_000_000
NOW = 1_770_000_000_000_000


def stream(marks: str = "anyone", ahead: int | None = DAY) -> StreamDefinition:
    fields = (Field("id", FieldType.STRING), Field("at", FieldType.TIME))
    return StreamDefinition("s", fields, "id", "at", "id", 0, DAY, ahead=ahead, marks=marks)


@pytest.mark.parametrize("time", [2**63 - 1, NOW * 1_000, NOW + DAY + 1, 10**300])
def test_a_mark_beyond_ahead_is_refused(time: int) -> None:
    reason = refusal_of(stream(), Mark(time, "cli:me@here"), NOW)
    assert reason is not None
    assert reason.field == MARK
    assert "by cli:me@here" in reason.value
    assert "2026-02-03T02:40:00Z or earlier" in reason.expected
    assert refusal_of(stream(), Mark(NOW + DAY), NOW) is None


@pytest.mark.parametrize("name", [MARK, WITHDRAWN])
def test_a_number_of_any_length_is_read_as_one_of_64_bits(name: str) -> None:
    for sign, nearest in (("", 2**63 - 1), ("-", -(2**63))):
        mark = mark_of({name: sign + "9" * 4_000})
        assert mark is not None
        assert mark.time == nearest
    assert mark_of({name: "9" * 5_000}) is None


@pytest.mark.parametrize("time", [2**63 - 1, NOW * 1_000])
def test_without_a_bound_a_mark_is_still_a_time_of_the_calendar(time: int) -> None:
    assert refusal_of(stream(ahead=None), Mark(time), NOW) is not None
    assert refusal_of(stream(ahead=None), Mark(NOW + 999 * DAY), NOW) is None


@pytest.mark.parametrize(
    ("marks", "believed"),
    [("anyone", ["cli", "play", "client", ""]), ("cli", ["cli", "play"]), ("nobody", [])],
)
def test_a_stream_declares_who_may_send_marks(marks: str, believed: list[str]) -> None:
    senders = {kind: Mark(NOW, f"{kind}:me@here") for kind in ("cli", "play", "client", "")}
    assert [kind for kind, mark in senders.items() if refusal_of(stream(marks), mark, NOW) is None] == believed


def test_an_operator_may_withdraw_marks_of_a_stream_that_takes_none() -> None:
    back = Mark(None, "cli:me@here", withdraws=True)
    assert refusal_of(stream("nobody"), back, NOW) is None
    assert refusal_of(stream("nobody"), back._replace(sender="client:you@there"), NOW) is not None


@pytest.mark.parametrize(
    "mark",
    [
        Mark(NOW, "me"),
        Mark(NOW, "me", confirmed=True),
        Mark(None, "me", withdraws=True),
        Mark(NOW, "me", withdraws=True),
    ],
)
def test_a_message_says_what_its_mark_says(mark: Mark) -> None:
    assert mark_of(properties_of(mark)) == mark


@pytest.mark.parametrize(
    "properties", [{}, {MARK: "tomorrow"}, {WITHDRAWN: "all"}, {CONFIRMED: "1"}, {MARK: "9" * 5_000}]
)
def test_what_is_no_mark_is_none(properties: dict[str, str]) -> None:
    assert mark_of(properties) is None


def test_a_sender_is_cut_and_printable() -> None:
    mark = mark_of({MARK: "7", SENDER: "\x1b[2J" + "a" * 5_000})
    assert mark is not None
    assert mark.sender.startswith("\\u001b[2Ja")
    assert len(mark.sender) < 140
    nameless = mark_of({MARK: "7"})
    assert nameless is not None
    assert nameless.sender == "a Pulsar client without a name"
