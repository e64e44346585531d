"""Which events are in time."""

from __future__ import annotations

import pytest

from headrace.wording import format_time
from headrace_ingest.admission import Admission
from tests.unit.ingest.streams import SECOND, event, stream

NOW = 1_000 * SECOND


def admission(lateness: int = 10 * SECOND, ahead: int | None = None, partitions: int = 1) -> Admission:
    return Admission(stream(lateness=lateness, ahead=ahead), lambda: NOW, partitions)


def refused(own: Admission, *times: int) -> list[int]:
    return [times[index] for index, _ in own.admit([event(at=time) for time in times]).refused]


def test_an_event_may_be_late_by_the_lateness_and_no_more() -> None:
    assert refused(admission(), 100 * SECOND, 90 * SECOND, 90 * SECOND - 1, 100 * SECOND) == [90 * SECOND - 1]


def test_lateness_counts_across_batches() -> None:
    own = admission()
    assert refused(own, 100 * SECOND) == []
    assert refused(own, 89 * SECOND, 95 * SECOND) == [89 * SECOND]


def test_a_refused_event_makes_no_other_late() -> None:
    own = admission(ahead=5 * SECOND)
    assert refused(own, NOW + 6 * SECOND, NOW - 8 * SECOND) == [NOW + 6 * SECOND]


def test_with_several_partitions_only_their_owners_can_tell_what_is_late() -> None:
    assert refused(admission(partitions=2), 100 * SECOND, 1) == []


def test_an_event_may_be_ahead_of_now_by_what_is_declared() -> None:
    assert refused(admission(ahead=5 * SECOND), NOW + 5 * SECOND, NOW + 5 * SECOND + 1) == [NOW + 5 * SECOND + 1]
    assert refused(admission(ahead=None), NOW + 10**12) == []


def test_what_did_not_arrive_makes_nothing_late() -> None:
    own = admission()
    own.admit([event(at=100 * SECOND)])
    own.forget()
    assert refused(own, 1) == []


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            (100 * SECOND, 1),
            "field 'at' is 1970-01-01T00:00:00.000001Z, expected 1970-01-01T00:01:30Z or later "
            "(the newest event, less the stream's lateness)",
        ),
        (
            (NOW * 2,),
            f"field 'at' is {format_time(NOW * 2)}, expected {format_time(NOW + 5 * SECOND)} or earlier "
            "(when it was published, and how far it may be ahead)",
        ),
    ],
)
def test_the_reason_tells_the_bound(times: tuple[int, ...], message: str) -> None:
    (_, error) = admission(ahead=5 * SECOND).admit([event(at=time) for time in times]).refused[-1]
    assert str(error) == message
