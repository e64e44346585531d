"""The oracle's verdicts on events, one partition at a time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.oracle.events import judge_partition, parse
from tests.unit.oracle.loops import HOUR, PAID, SECOND, START, message, payment


def reasons(*messages: object, **options: int) -> list[str]:
    found = judge_partition(replace(PAID, **options), 0, messages)  # type: ignore[arg-type]
    verdicts = {event.position: "accepted" for event in found.accepted}
    verdicts |= {refusal.position: refusal.reason for refusal in found.refused}
    return [verdicts[place] for place in sorted(verdicts)]


def test_events_within_the_lateness_count() -> None:
    early = payment("b", -10)
    assert reasons(message(0, payment("a", 0)), message(1, early)) == ["accepted", "accepted"]


def test_an_event_1_us_behind_the_watermark_is_late() -> None:
    late = {**payment("b", -10), "at": START - 10 * SECOND - 1}
    assert reasons(message(0, payment("a", 0)), message(1, late)) == ["accepted", "late"]


def test_a_repeat_is_no_late_event_however_old() -> None:
    messages = [message(0, payment("a", 0)), message(1, payment("b", 3_600)), message(2, payment("a", 0))]
    assert reasons(*messages) == ["accepted", "accepted", "repeated"]


def test_beyond_the_horizon_a_repeat_is_late() -> None:
    messages = [message(0, payment("a", 0)), message(1, payment("b", 3_601)), message(2, payment("a", 0))]
    assert reasons(*messages) == ["accepted", "accepted", "late"]


def test_a_horizon_below_the_lateness_counts_as_it() -> None:
    messages = [message(0, payment("a", 0)), message(1, payment("b", 10)), message(2, payment("a", 5))]
    assert reasons(*messages, horizon=0) == ["accepted", "accepted", "repeated"]


def test_a_mark_moves_the_watermark_as_an_event_does() -> None:
    messages = [message(0, mark=str(START)), message(1, payment("a", -0.001)), message(2, payment("b", 0))]
    assert reasons(*messages) == ["late", "accepted"]


def test_an_event_is_judged_before_the_mark_it_carries() -> None:
    assert reasons(message(0, payment("a", 0), mark=str(START + 1))) == ["accepted"]


@pytest.mark.parametrize("properties", [{"end": "1"}, {"watermark": str(2**62)}, {"watermark": str(-(2**62))}])
def test_an_end_of_history_moves_no_watermark(properties: dict[str, str]) -> None:
    found = judge_partition(PAID, 0, [message(0, payment("a", 0)), message(1, **properties)])
    assert found.watermark == START - 10 * SECOND


def test_ahead_is_measured_from_the_publish_time() -> None:
    messages = [
        message(0, {**payment("a", 0), "at": START + HOUR + 999}),
        message(1, {**payment("b", 0), "at": START + HOUR + 1_000}),
    ]
    assert reasons(*messages, ahead=HOUR) == ["accepted", "ahead"]


def test_an_event_that_was_refused_is_no_repeat() -> None:
    messages = [message(0, payment("a", 0)), message(1, payment("b", -11)), message(2, payment("b", -1))]
    assert reasons(*messages) == ["accepted", "late", "accepted"]


@pytest.mark.parametrize(
    "payload",
    [
        b"no JSON",
        b"[]",
        b'{"id": "a"}',
        b'{"id": 1, "at": 1}',
        b'{"id": "a", "at": 1.5}',
        b'{"id": "a", "at": true}',
        b'{"id": "a", "at": 1, "amount": "much"}',
        b'{"id": "a", "at": 1, "amount": Infinity}',
    ],
)
def test_what_does_not_fit_the_schema_is_invalid(payload: bytes) -> None:
    assert reasons(message(0, payload)) == ["invalid"]


def test_fields_are_read_by_their_types() -> None:
    event = b'{"id": "a", "at": "2023-11-14T23:00:00Z", "amount": 3, "more": 1}'
    assert parse(PAID, event) == {"id": "a", "at": START, "card": None, "amount": 3.0}


@pytest.mark.parametrize("time", [2**63 - 1, START * 1_000, START + 2 * HOUR + 1_000])
def test_a_mark_of_the_far_future_moves_no_watermark(time: int) -> None:
    found = judge_partition(replace(PAID, ahead=2 * HOUR), 0, [message(0, payment("a", 0)), message(1, mark=str(time))])
    assert found.watermark == START - 10 * SECOND
    unbounded = judge_partition(replace(PAID, ahead=None), 0, [message(0, mark=str(2**63 - 1))])
    assert unbounded.watermark < START


def test_a_mark_counts_only_where_its_sender_may_send_it() -> None:
    def watermark(marks: str, sender: str) -> int:
        return judge_partition(replace(PAID, marks=marks), 0, [message(0, mark=str(START), sender=sender)]).watermark

    assert [watermark(marks, "client:me") == START for marks in ("anyone", "cli", "nobody")] == [True, False, False]
    assert [watermark(marks, "cli:me") == START for marks in ("anyone", "cli", "nobody")] == [True, True, False]


def test_behind_a_withdrawal_events_before_the_mark_count() -> None:
    messages = [message(0, payment("a", 0)), message(1, mark=str(START + HOUR)), message(2, payment("b", 1))]
    back = message(3, **{"mark-withdrawn": "", "sender": "cli:me"})
    assert reasons(*messages, back, message(4, payment("c", 1))) == ["accepted", "late", "accepted"]
    withdrawal = message(3, **{"mark-withdrawn": str(START + 2 * SECOND), "sender": "cli:me"})
    assert reasons(*messages, withdrawal, message(4, payment("c", 1))) == ["accepted", "late", "late"]
