"""How long topics and rows are kept: by default, and as declared; it changes no hash."""

from __future__ import annotations

from collections.abc import Callable

from headrace.compiler import LoadedLoop
from headrace.declare.durations import parse_duration
from headrace.definition import LoopDefinition
from headrace.wire.compiled_loop import decode, encode

DAY = parse_duration("1d")


def hashes(loop: LoopDefinition) -> list[str]:
    return [definition.hash for definition in (*loop.views, *loop.models)]


def test_a_stream_is_kept_a_week_longer_than_rebuilding_takes(loaded: Callable[..., LoadedLoop]) -> None:
    loop = loaded(
        ('Scheduled(Stream, key="tail"', 'Scheduled(Stream, lateness="1h", key="tail"'),
        ('windows=["3h", "24h"]', 'windows=["3h", "5d"]'),
    ).definition
    scheduled, arrived = loop.streams
    assert scheduled.retention == parse_duration("1h") + 2 * DAY + 7 * DAY
    # A pair waits two days for its label, and its vector is made from windows of five days.
    assert arrived.retention == 5 * DAY + 2 * DAY + 7 * DAY
    [model] = loop.models
    assert (model.retention, model.examples_retention) == (scheduled.retention, None)
    assert (loop.dead_letters_retention, loop.dead_letters_bytes) == (90 * DAY, 2**30)


def test_what_is_declared_holds_and_changes_no_hash(loaded: Callable[..., LoadedLoop]) -> None:
    before = loaded().definition
    loop = loaded(
        ('Scheduled(Stream, key="tail"', 'Scheduled(Stream, retention="2d", key="tail"'),
        ('Arrived(Stream, key="tail"', 'Arrived(Stream, retention="forever", key="tail"'),
        ('windows=["3h", "24h"],', 'windows=["3h", "24h"], expire="30d",'),
        ('    "late_arrival",', '    "late_arrival", retention="3d", examples_retention="52w",'),
        ("late = Label(", 'Loop("flights", compact_models=1000, dead_letters_retention="1w")\nlate = Label('),
    ).definition
    assert [stream.retention for stream in loop.streams] == [2 * DAY, None]
    [model], [view] = loop.models, loop.views
    assert (model.retention, model.examples_retention) == (3 * DAY, 364 * DAY)
    assert (view.expire, view.lifetime) == (30 * DAY, 30 * DAY)
    assert (loop.compact_models, loop.dead_letters_retention) == (1_000, 7 * DAY)
    assert hashes(loop) == hashes(before)
    assert decode(encode(loop)) == loop
    assert before.views[0].lifetime == 3 * DAY
