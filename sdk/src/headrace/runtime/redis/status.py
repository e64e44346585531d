"""The status of each service process: a key with a short life, so that a dead process is not listed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import redis

from headrace.errors import Unreadable
from headrace.runtime.redis.connection import is_wrong_type
from headrace.wire.document import Document
from headrace.wire.times import WireTime, from_wire

#: A status that has not been renewed for this long (seconds) is gone.
LIFE = 10

#: Seconds between two beats of a service while something happens, and while nothing does.
PERIOD = 0.25
QUIET = 2.0

_RATES_OVER_S = 1.0

#: Seconds for which a silent process is listed with the time of its last report.
_FORGET_S = 86_400.0

# Timers are not exact: a beat that is early by this much is written all the same.
_SLACK_S = 0.1


class MarkStatus(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A mark of a label's stream, and what it did to the questions of a model.

    `until` is its time (µs since the epoch), None if all marks were withdrawn; `sender` is the sender that its message
    names; `expired` and `absent` count the questions that it left without a label, or decided as absent; `held` counts
    those that wait for `headrace mark --confirm`; `withdraws` says that it withdrew later marks.
    """

    until: int | None
    sender: str
    expired: int = 0
    absent: int = 0
    held: int = 0
    withdraws: bool = False


class JoinStatus(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The waiting questions and labels of a model's join.

    `held_by` is the partition of the label's stream with the lowest watermark: questions wait until it has passed the
    end of their bound (µs since the epoch; None: unknown). It has not moved since `since` (wall clock, seconds).
    Labels wait for events of the stream `questions_of`. After a change of the model, `made` of `to_make` vectors have
    been made from kept events; both are 0 once their examples are in the log. `marks` are the latest of the label's
    stream.
    """

    waiting_questions: int
    waiting_labels: int
    question_bytes: int
    label_bytes: int
    bound_bytes: int
    held_by: str
    watermark: int | None
    since: float
    questions_of: str = ""
    made: int = 0
    to_make: int = 0
    marks: list[MarkStatus] = []

    @property
    def is_full(self) -> bool:
        """Whether so much waits that the join has stopped reading one of its sources."""
        return max(self.question_bytes, self.label_bytes) >= self.bound_bytes


class PartitionStatus(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The progress of a partition of a stream, as reported by a feature process that reads it.

    `owned` says whether the process owns it; then `waiting` events have been read but not folded, the oldest of
    them for `oldest_s` seconds, and `idle` says that the loop does not wait for it. `unread` counts the messages on the
    topic after the last one read, or after the last one done if another process owns the partition. `watermark` is the
    partition's (µs since the epoch; None: unknown), or the last one that another owner saved.
    """

    owned: bool = False
    waiting: int = 0
    unread: int = 0
    oldest_s: float = 0.0
    watermark: int | None = None
    idle: bool = False


class TakeoverStatus(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The progress of a changed model until it answers.

    The definition with the hash `answering` answers until the new one, which has learned `learned` examples, has
    learned `needed` of them.
    """

    answering: str
    learned: int
    needed: int


class StoppedModel(msgspec.Struct, kw_only=True):
    """The example on which a model's learner fails: it has learned everything before it, and nothing after.

    `id` is that of its event, `entry` its place in the model's log and `question` that of its question, `position`
    that of the message in that log, and `reason` what the learner raised.
    """

    id: str
    entry: int
    question: int
    position: str
    reason: str


class ServiceStatus(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The status of one service process, as the process itself reports it (see `Heartbeat`).

    `rates` are per second; `counters` count from the start of the process; `watermark` is the event time up to which
    its work is done (µs since the epoch, or ``idle`` or ``ended``; None: unknown) and `newest` the newest event time
    that it has seen. `lag_s`, how far its watermark is behind the newest event that any service has seen, is filled in
    by the reader. `versions` maps a model to the number of examples of the version in use; `metrics` maps a model to
    its metrics as of the question, with None for one that cannot be computed.
    `partitions` gives the progress of each partition of a stream, `held_by` the one that the events already read wait
    for, and `joins` the waiting entries in the join of each model. `takeovers` gives the progress of each changed
    model whose new definition does not answer yet; `stopped` names the models whose learner fails on an example.
    """

    service: str
    instance: str
    state: str = "starting"
    address: str = ""
    started_at: float = msgspec.field(default_factory=time.time)
    updated_at: float = 0.0
    counters: dict[str, int] = {}
    rates: dict[str, float] = {}
    watermark: WireTime = None
    newest: int | None = None
    lag_s: float | None = None
    versions: dict[str, int] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    partitions: dict[str, PartitionStatus] = {}
    held_by: str = ""
    joins: dict[str, JoinStatus] = {}
    takeovers: dict[str, TakeoverStatus] = {}
    stopped: dict[str, StoppedModel] = {}
    note: str = ""


_STATUS = Document[ServiceStatus]("status", ServiceStatus)


def status_key(loop: str, service: str, instance: str) -> str:
    """Return the key of a process's status."""
    return f"headrace:{loop}:status:{service}:{instance}"


class StatusBoard:
    """The statuses of a loop's services."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop
        # The keys of all statuses, and when each was written: a search for them would scan all rows of the store.
        self._register = status_key(loop, "seen", "")

    def write(self, status: ServiceStatus) -> None:
        """Publish a status for the next `LIFE` seconds."""
        status.updated_at = time.time()
        key = status_key(self._loop, status.service, status.instance)
        self._store.set(key, _STATUS.encode(status), ex=LIFE)
        try:
            self._store.zadd(self._register, {key: status.updated_at})
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            # A register of another type would hide every service; all of them write to a new one within seconds.
            self._store.delete(self._register)

    def remove(self, status: ServiceStatus) -> None:
        """Remove a status from the board, because its process ends."""
        key = status_key(self._loop, status.service, status.instance)
        self._store.delete(key)
        self._store.zrem(self._register, key)

    def read(self, silent: bool = False) -> list[ServiceStatus]:
        """List the services that are alive, by service and instance.

        Parameters
        ----------
        silent
            Include processes that stopped reporting without ending, with the time of their last report, for a day.
        """
        with suppress(redis.ResponseError):  # a store whose disk is full refuses writes, but can be read
            self._store.zremrangebyscore(self._register, "-inf", time.time() - _FORGET_S)
        seen = self._seen()
        values = self._store.mget([key for key, _ in seen]) if seen else []
        pairs = list(zip(seen, values, strict=True))
        alive = [_read(key, at, value) for (key, at), value in pairs if value is not None]
        _set_lags(alive)
        if silent:
            alive += [_silent(key, at) for (key, at), value in pairs if value is None]
        return alive

    def _seen(self) -> list[tuple[bytes, float]]:
        """Return the keys of all statuses, with the time of each; none while the register is of another type."""
        try:
            return sorted(self._store.zrange(self._register, 0, -1, withscores=True))  # type: ignore[arg-type]
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            return []


def _read(key: bytes, at: float, value: Any) -> ServiceStatus:
    """Read a status; one that cannot be read says so in its note."""
    try:
        return _STATUS.decode(value, "the status")
    except Unreadable as error:
        return _unknown(key, at, "not readable", str(error))


def _silent(key: bytes, at: float) -> ServiceStatus:
    return _unknown(key, at, "does not report")


def _unknown(key: bytes, at: float, state: str, note: str = "") -> ServiceStatus:
    names = key.decode(errors="replace").rsplit(":", 2)
    service, instance = names[-2:] if len(names) > 2 else ("?", names[-1])
    return ServiceStatus(service=service, instance=instance, state=state, updated_at=at, note=note)


def _set_lags(statuses: list[ServiceStatus]) -> None:
    newest = max((status.newest for status in statuses if status.newest is not None), default=None)
    for status in statuses:
        if status.watermark is not None and newest is not None:
            status.lag_s = max(newest - from_wire(status.watermark), 0) / 1e6


class Pace:
    """Says when the next beat is due: every `PERIOD` while something happens, every `quiet` seconds while nothing does.

    A process that plays events into the loop paces itself by the watermarks in the statuses, so `wake` ends a quiet
    wait at once. Any thread may call any method except `wait`, which is for one.
    """

    def __init__(self, quiet: float = QUIET) -> None:
        self._quiet = quiet
        self._change = threading.Event()
        self._at_once = threading.Event()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether the beats have ended."""
        return self._ended.is_set()

    def wake(self, at_once: bool = False) -> None:
        """Note that something has happened, so that the next beat comes soon; `at_once` does not wait for `PERIOD`."""
        self._change.set()
        if at_once:
            self._at_once.set()

    def end(self) -> None:
        """End the waiting permanently."""
        self._ended.set()
        self.wake(at_once=True)

    def wait(self) -> bool:
        """Wait until a beat is due; return False once the beats have ended."""
        if not self._at_once.wait(PERIOD):
            self._change.wait(self._quiet - PERIOD)
        # Clear before the beat: the next beat reports what happens during this one.
        self._at_once.clear()
        self._change.clear()
        return not self.ended


class Heartbeat:
    """Keeps one service's status current, and derives its rates from its counters.

    Call `beat` every `PERIOD` while something happens (see `Pace`). An unchanged status is written every `QUIET`
    seconds only.
    """

    def __init__(self, board: StatusBoard, status: ServiceStatus, clock: Callable[[], float] = time.monotonic) -> None:
        self.status = status
        self._board = board
        self._clock = clock
        self._before: tuple[float, dict[str, int]] = (clock(), {})
        self._written: tuple[float, bytes] = (-math.inf, b"")

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        self.status.counters[name] = self.status.counters.get(name, 0) + by

    def beat(self) -> None:
        """Publish the status, with new rates every second."""
        now, counters = self._clock(), dict(self.status.counters)
        last_time, before = self._before
        if now - last_time >= _RATES_OVER_S:
            self.status.rates = {
                name: (value - before.get(name, 0)) / (now - last_time) for name, value in counters.items()
            }
            self._before = (now, counters)
        self.status.updated_at = 0.0
        data = msgspec.json.encode(self.status)
        at, last = self._written
        if data != last or now - at >= QUIET - _SLACK_S:
            self._board.write(self.status)
            self._written = now, data

    def end(self) -> None:
        """Remove the service from the board."""
        self._board.remove(self.status)
