"""Playing files: in which order, with which marks, and where the player stops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.client.merging import Origins, sources_of
from headrace.client.pacing import ClosedLoop, Pace, TimedPace, Window
from headrace.client.player import Look, Player, Progress
from headrace.definition import Field, FieldType, LoopDefinition, StreamDefinition
from headrace.errors import Unavailable, UnknownName
from headrace.runtime.redis.status import ServiceStatus

LATENESS = 100
#: The log's note for the end of a history.
END = "end"
HOUR = 3_600_000_000


def stream(name: str) -> StreamDefinition:
    fields = (Field("id", FieldType.STRING), Field("at", FieldType.TIME))
    return StreamDefinition(name, fields, key="id", time="at", id="id", lateness=LATENESS, horizon=0, time_format="us")


LOOP = LoopDefinition("loop", (stream("a"), stream("b"), stream("c")), (), (), ())


class Clock:
    """A clock that moves only when something sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


class Log:
    """A log of what arrives, in order, with the time of its arrival."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.entries: list[tuple[str, object]] = []
        self.arrivals: list[tuple[int, float]] = []

    def send(self, stream: str, events: Sequence[bytes], *, mark: int = 0, end: bool = False) -> None:
        for event in events:
            found = json.loads(event)
            self.entries.append((stream, found))
            self.arrivals.append((found.get("at"), self.clock.time))
        if mark:
            self.entries.append((stream, mark))
        if end:
            self.entries.append((stream, END))

    def events(self, stream: str | None = None) -> list[str]:
        entries = [entry for name, entry in self.entries if stream in (None, name)]
        return [entry["id"] for entry in entries if isinstance(entry, dict)]


class Slices:
    """A pace of fixed slices."""

    def __init__(self, size: int) -> None:
        self._size = size

    def window(self, time: int) -> Window:
        return Window(self._size, float("inf"), 0.0)

    def sent(self, events: int, time: int) -> None: ...


def write(directory: Path, name: str, times: Sequence[object]) -> Path:
    path = directory / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"id": f"{name}{n}", "at": at}) + "\n" for n, at in enumerate(times)))
    return path


def play(
    sources: list[tuple[Path, str]], pace: Pace | None = None, clock: Clock | None = None, **options: Any
) -> tuple[Log, Player]:
    clock = clock or Clock()
    log = Log(clock)
    player = Player(sources_of(LOOP, sources), log, pace or Slices(2), clock, look=options.pop("look", None))
    player.run(options.pop("limit", None), options.pop("final", True))
    assert not options
    return log, player


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("play")


times = st.lists(st.integers(1, 30), max_size=8)


@settings(max_examples=40)
@given(a=times, b=times, more=times, size=st.integers(1, 5), in_order=st.booleans())
def test_nothing_overtakes_a_promise(
    room: Path, a: list[int], b: list[int], more: list[int], size: int, in_order: bool
) -> None:
    if in_order:
        a, b, more = sorted(a), sorted(b), sorted(more)
    files = [(write(room, "b", b), "b"), (write(room, "a", a), "a"), (write(room, "m", more), "b")]
    log, player = play(files, Slices(size))
    if in_order:
        expected = sorted(
            [(at, 0, n, f"a{n}") for n, at in enumerate(a)]
            + [(at, 1, n, f"b{n}") for n, at in enumerate(b)]
            + [(at, 2, n, f"m{n}") for n, at in enumerate(more)]
        )
        assert log.events("b") == [id for _, _, _, id in expected if id[0] != "a"]
    assert sorted(log.events()) == sorted(
        [f"a{n}" for n in range(len(a))] + [f"b{n}" for n in range(len(b))] + [f"m{n}" for n in range(len(more))]
    )
    for name in "abc":
        promised, ended = 0, False
        for stream_, entry in log.entries:
            if stream_ != name:
                continue
            if isinstance(entry, int):
                assert entry > promised
                promised = entry
            elif entry == END:
                ended = True
            elif in_order:
                assert isinstance(entry, dict)
                assert entry["at"] >= promised
        assert ended == (name in "ab")
    assert player.sent == len(a) + len(b) + len(more)


def test_equal_times_go_in_the_order_of_the_loop_then_of_the_files(tmp_path: Path) -> None:
    files = [(write(tmp_path, "c", [5, 5]), "c"), (write(tmp_path, "z", [5]), "a"), (write(tmp_path, "a", [5]), "a")]
    log, _ = play(files, Slices(1))
    assert log.events() == ["z0", "a0", "c0", "c1"]


def test_each_slice_marks_the_streams_that_are_played(tmp_path: Path) -> None:
    log, _ = play([(write(tmp_path, "a", [201, 202, 209]), "a"), (write(tmp_path, "b", [300]), "b")])
    notes = [entry for entry in log.entries if not isinstance(entry[1], dict)]
    assert notes == [(name, 209 - LATENESS) for name in "ab"] + [(name, END) for name in "ab"]


def test_a_mark_leaves_room_for_late_events(tmp_path: Path) -> None:
    log, player = play(
        [(write(tmp_path, "a", [5000, 4990, 6000, 7000, 8000]), "a"), (write(tmp_path, "b", [7000]), "b")]
    )
    assert player._sources[0].disorder == 10
    promised = {
        name: [entry for stream_, entry in log.entries if stream_ == name and isinstance(entry, int)] for name in "ab"
    }
    assert promised == {"a": [5900, 6900], "b": [5900, 6900]}


def test_a_row_without_a_time_stays_in_its_place(tmp_path: Path) -> None:
    files = [(write(tmp_path, "a", ["?", 1, "?", 5]), "a"), (write(tmp_path, "b", [1, 3]), "b")]
    log, player = play(files, Slices(1))
    assert log.events() == ["a0", "a1", "a2", "b0", "b1", "a3"]
    assert (player.first_time, player.last_time) == (1, 5)


def test_a_file_whose_times_are_all_wrong_is_played_all_the_same(tmp_path: Path) -> None:
    clock = Clock()
    files = [(write(tmp_path, "a", ["?", "?"]), "a"), (write(tmp_path, "b", [HOUR]), "b")]
    log, player = play(files, TimedPace(1, clock.now), clock)
    assert (log.events(), player.first_time) == (["a0", "a1", "b0"], HOUR)


def test_the_limit_counts_the_events_of_all_streams(tmp_path: Path) -> None:
    files = [(write(tmp_path, "a", range(1, 100, 2)), "a"), (write(tmp_path, "b", range(2, 100, 2)), "b")]
    log, player = play(files, Slices(10), limit=25)
    assert (len(log.events()), player.sent, player.last_time) == (25, 25, 25)
    assert log.entries[-2:] == [(name, END) for name in "ab"]


def test_where_more_follows_history_does_not_end(tmp_path: Path) -> None:
    log, _ = play([(write(tmp_path, "a", [1]), "a")], final=False)
    assert [entry for entry in log.entries if not isinstance(entry[1], dict)] == []


def test_time_passes_as_it_did(tmp_path: Path) -> None:
    clock = Clock()
    log, _ = play([(write(tmp_path, "a", [HOUR, 2 * HOUR, 4 * HOUR]), "a")], TimedPace(3600, clock.now), clock)
    assert [(at // HOUR, round(arrived)) for at, arrived in log.arrivals] == [(1, 0), (2, 1), (4, 3)]


def test_a_player_waits_for_a_slow_loop(tmp_path: Path) -> None:
    clock = Clock()
    pace = ClosedLoop(10, clock.now, slice_events=4)
    behind: list[int] = []

    def look() -> None:
        behind.append(pace.outstanding)
        pace.reached(int(clock.time * 10))

    log, _ = play([(write(tmp_path, "a", range(1, 61)), "a")], pace, clock, look=look)
    assert len(log.events()) == 60
    assert max(behind) <= 10
    assert pace.stalls == 0
    assert clock.time >= 4


def test_progress_is_told_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    reports: list[Progress] = []
    clock = Clock()
    sources = sources_of(LOOP, [(write(tmp_path, "a", range(1, 10)), "a")])
    Player(sources, Log(clock), Slices(1), clock, look=None, on_progress=reports.append).run(None, True)
    assert reports == [Progress(1, 1, None), Progress(9, 9, None)]


def test_an_unknown_stream_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'x', expected one of a, b, c"):
        sources_of(LOOP, [(tmp_path / "x.csv", "x")])


rows = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(1, 6)), max_size=30)


@given(rows)
def test_where_an_event_came_from_is_known(added: list[tuple[str, int, int]]) -> None:
    origins = Origins()
    counts = {"a": 0, "b": 0}
    expected = {}
    for name, rank, line in added:
        origins.add(name, rank, line)
        expected[name, counts[name]] = (rank, line)
        counts[name] += 1
    assert {key: origins.find(*key) for key in expected} == expected
    assert origins.find("a", counts["a"]) is None


def test_a_file_in_order_takes_one_entry_and_too_many_are_given_up() -> None:
    origins = Origins(limit=2)
    for line in range(1, 1_000):
        origins.add("a", 0, line)
    assert origins.find("a", 500) == (0, 501)
    origins.add("b", 0, 5)
    assert origins.find("b", 0) is None


def test_a_store_that_is_busy_for_a_while_ends_no_play() -> None:
    clock, busy = Clock(), True
    pace = ClosedLoop(10, clock.now)

    def statuses() -> list[ServiceStatus]:
        if busy:
            raise redis.ResponseError("BUSY running a script")
        return []

    look = Look(pace, statuses, clock)
    clock.time += 29
    look()
    busy = False
    clock.time += 1
    look()
    assert pace.window(1).events > 0
    busy = True
    clock.time += 31
    with pytest.raises(Unavailable, match="BUSY"):
        look()
