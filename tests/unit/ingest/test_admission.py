"""Which events are in time."""

from __future__ import annotations

from headrace.wording import format_time
from headrace_ingest.admission import Admission
from tests.unit.ingest.streams import SECOND, event, stream

NOW = 1_000 * SECOND


def admission(ahead: int | None = None) -> Admission:
    return Admission(stream(lateness=10 * SECOND, ahead=ahead), lambda: NOW)


def refused(admission: Admission, *times: int) -> list[int]:
    return [times[index] for index, _ in admission.admit([event(at=time) for time in times]).refused]


def test_whether_an_event_is_late_is_left_to_its_owner() -> None:
    assert refused(admission(), 100 * SECOND, 1) == []


def test_an_event_may_be_ahead_of_now_by_what_is_declared() -> None:
    assert refused(admission(ahead=5 * SECOND), NOW + 5 * SECOND, NOW + 5 * SECOND + 1) == [NOW + 5 * SECOND + 1]
    assert refused(admission(ahead=None), NOW + 10**12) == []


def test_each_admitted_event_has_its_index() -> None:
    admitted = admission().admit([event("a"), b"?", event("b")])
    assert admitted.places == [0, 2]
    assert [index for index, _ in admitted.refused] == [1]


def test_the_reason_names_the_bound() -> None:
    ((_, error),) = admission(ahead=5 * SECOND).admit([event(at=NOW * 2)]).refused
    assert str(error) == (
        f"field 'at' is {format_time(NOW * 2)}, expected {format_time(NOW + 5 * SECOND)} or earlier "
        "(when it was published, and how far it may be ahead)"
    )
