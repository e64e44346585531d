"""The messages about an event that is too late or too far ahead."""

from __future__ import annotations

from headrace.definition import StreamDefinition
from headrace.engine.events.lateness import too_far_ahead, too_late

HOUR = 3_600_000_000
STREAM = StreamDefinition("clicks", (), "user", "at", "id", 0, HOUR)


def test_times_are_told_as_people_write_them() -> None:
    assert str(too_late(STREAM, HOUR, 2 * HOUR)) == (
        "field 'at' is 1970-01-01T01:00:00Z, expected 1970-01-01T02:00:00Z or later "
        "(the watermark of its partition): late or already sent"
    )
    assert "expected 1970-01-01T01:00:00Z or earlier" in str(too_far_ahead(STREAM, 2 * HOUR, HOUR))


def test_a_bound_beyond_the_calendar_is_a_number() -> None:
    assert f"expected {2**62} or earlier" in str(too_far_ahead(STREAM, HOUR, 2**62))
