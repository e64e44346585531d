"""Faults of a run: a schedule drawn from a seed, and the thread that carries it out."""

from __future__ import annotations

import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from headrace.errors import Unavailable
from headrace.history.backfill import Backfill
from headrace.watermark import UNKNOWN
from tests.crash.grounds import INSTANCES
from tests.crash.site import Site
from tests.deadline import scaled


class Kind(StrEnum):
    """Kinds of faults; all but kills, terminations and wipes last for a while."""

    KILL = "SIGKILL"
    TERMINATE = "SIGTERM"
    SUSPEND = "SIGSTOP, later SIGCONT"
    CUT_BROKER = "cut from the broker"
    CUT_STORE = "cut from the store"
    SILENCE_BROKER = "broker silent"
    SILENCE_STORE = "store silent"
    SLOW_STORE = "slow store"
    FULL_DISK = "full disk"
    WIPE = "wiped, and filled again"


BROKER, STORE = "broker", "store"

#: Seconds that a patient fault waits at most.
_BREATH_S = 20.0


@dataclass(frozen=True)
class Fault:
    """One fault; it begins `gap` s after the one before has begun.

    Attributes
    ----------
    target
        An instance, the broker, or the store.
    seconds
        How long the fault lasts.
    delay
        Extra latency of a slow link (s each way).
    alone
        The next fault waits until this one is over.
    patient
        The fault waits, for a bounded time, until vectors have been made since the last one that stopped them.
    """

    gap: float
    kind: Kind
    target: str
    seconds: float = 0.0
    delay: float = 0.0
    alone: bool = False
    patient: bool = False


def _stops_vectors(fault: Fault) -> bool:
    return fault.target in (BROKER, STORE) or (
        fault.target in _FOLDING and fault.kind in (Kind.KILL, Kind.TERMINATE, Kind.SUSPEND)
    )


@dataclass(frozen=True)
class Happened:
    """A fault that has happened: when it began and when it ended (s since the epoch)."""

    fault: Fault
    began: float
    ended: float


def _instances(*services: str) -> list[str]:
    return [instance for instance in INSTANCES if instance.rpartition("-")[0] in services]


# Dealt like cards: every kind occurs, in an order that the seed decides.
_KILLED = [*_instances("feature") * 3, *_instances("learner", "scorer") * 2, *_instances("ingest") * 2, STORE, BROKER]
_FOLDING = _instances("feature")
_REST = _instances("learner", "scorer")


def schedule(seed: int, kills: int, mean: float = 2.5) -> list[Fault]:
    """Draw a schedule with `kills` kills among its faults, `mean` s apart."""
    draw = Random(seed)
    faults: list[Fault] = []
    cards = _cards(draw)
    while sum(fault.kind is Kind.KILL for fault in faults) < kills:
        kind, target = next(cards)
        faults.append(_fault(draw, kind, target, mean))
    return faults


def lasts(planned: Sequence[Fault]) -> float:
    """Estimate how many seconds a schedule takes: events should flow for as long."""
    held_up = {BROKER: 9.0, STORE: 2.0}
    return sum(fault.gap + fault.alone * held_up.get(fault.target, 0.3) for fault in planned) + 5.0


def _cards(draw: Random) -> Iterator[tuple[Kind, str]]:
    while True:
        others = [
            (Kind.SUSPEND, draw.choice(_FOLDING)),
            (Kind.SUSPEND, draw.choice(_REST)),
            (Kind.CUT_BROKER, draw.choice(INSTANCES)),
            (Kind.SILENCE_BROKER, draw.choice(INSTANCES)),
            (Kind.CUT_STORE, draw.choice(_FOLDING + _REST)),
            (Kind.SILENCE_STORE, draw.choice(_FOLDING + _REST)),
            (Kind.SLOW_STORE, draw.choice(_FOLDING + _REST)),
            (Kind.FULL_DISK, "learner"),
            (Kind.TERMINATE, draw.choice(_FOLDING + _REST)),
            (Kind.TERMINATE, draw.choice(INSTANCES)),
            (Kind.WIPE, STORE),
        ]
        deck = [(Kind.KILL, target) for target in _KILLED] + others
        draw.shuffle(deck)
        yield from deck


def _fault(draw: Random, kind: Kind, target: str, mean: float) -> Fault:
    gap = min(max(draw.expovariate(1 / mean), 0.2 * mean), 3 * mean)
    # Sometimes several faults overlap.
    patient, alone = draw.random() < 0.7, draw.random() < 0.6
    match kind:
        case Kind.KILL if target in (BROKER, STORE):
            return Fault(gap, kind, target, alone=alone, patient=patient)
        case Kind.KILL | Kind.TERMINATE | Kind.WIPE:
            return Fault(gap, kind, target, alone=True, patient=patient)
        case Kind.SUSPEND:
            # Longer than the broker takes to notice: one to two keep-alive intervals of 5 s.
            return Fault(gap, kind, target, draw.uniform(11, 15), patient=patient)
        case Kind.SLOW_STORE:
            return Fault(gap, kind, target, draw.uniform(3, 8), draw.uniform(0.02, 0.05))
        case _:
            return Fault(gap, kind, target, draw.uniform(1, 6))


class Faults(threading.Thread):
    """A thread that carries out a schedule on a site."""

    def __init__(self, site: Site, planned: Sequence[Fault], say: Callable[[str], None] = lambda text: None) -> None:
        super().__init__(name="faults", daemon=True)
        self.happened: list[Happened] = []
        self.failure: BaseException | None = None
        self._site = site
        self._planned = planned
        self._say = say
        #: Seconds of the schedule that may pass before the next fault: if a fault is delayed, events wait for it.
        self.reached = 0.0
        self._made = UNKNOWN
        self._pause = threading.Event()
        self._lasting: list[threading.Thread] = []
        # Do not kill a server while it is starting.
        self._servers = {BROKER: threading.Lock(), STORE: threading.Lock()}

    @property
    def kills(self) -> int:
        return sum(event.fault.kind is Kind.KILL for event in tuple(self.happened))

    @property
    def others(self) -> int:
        return len(self.happened) - self.kills

    def run(self) -> None:
        due = time.monotonic()
        for index, fault in enumerate(self._planned):
            self.reached = lasts(self._planned[: index + 1])
            # After a delayed fault, the next one does not catch up with the clock.
            due = max(due + fault.gap, time.monotonic())
            self._pause.wait(max(due - time.monotonic(), 0))
            if self.failure is not None:
                return
            if _stops_vectors(fault):
                if fault.patient:
                    self._breathe()
                self._made = self._vectors()
            lasting = threading.Thread(target=self._guarded, args=(fault,), daemon=True)
            self._lasting.append(lasting)
            lasting.start()
            if fault.alone:
                lasting.join()
        self.reached = math.inf
        for lasting in self._lasting:
            lasting.join()

    def _breathe(self) -> None:
        """Let a slow machine recover: a loop that is hit again before it has completed a step shows nothing."""
        until = time.monotonic() + scaled(_BREATH_S)
        while self._vectors() <= self._made and time.monotonic() < until:
            self._pause.wait(0.1)

    def _vectors(self) -> int:
        """Return the event time before which all vectors are made; the last known one while the store is away."""
        try:
            return min(progress.out for progress in self._site.reached().values())
        except Unavailable:
            return self._made

    def _guarded(self, fault: Fault) -> None:
        try:
            start = self._do(fault)
            self.happened.append(Happened(fault, start, time.time()))
        except BaseException as error:
            self.failure = error

    def _do(self, fault: Fault) -> float:
        """Carry out a fault; return when it began, once it is over."""
        site, target = self._site, fault.target
        self._say(f"{fault.kind} {target}" + (f" for {fault.seconds:.1f} s" if fault.seconds else ""))
        match fault.kind:
            case Kind.KILL if target in self._servers:
                return self._kill_server(target)
            case Kind.KILL:
                child = site.child(target)
                start = time.time()
                child.kill()
                return start
            case Kind.TERMINATE:
                start = time.time()
                site.signal(target, signal.SIGTERM)
                return start
            case Kind.SUSPEND:
                start = time.time()
                child = site.signal(target, signal.SIGSTOP)
                self._pause.wait(fault.seconds)
                if child.alive:
                    os.kill(child.pid, signal.SIGCONT)
                return start
            case Kind.WIPE:
                return self._wipe()
            case Kind.FULL_DISK:
                start = time.time()
                self._fill_disk(fault.seconds)
                return start
        return self._disturb(fault)

    def _kill_server(self, target: str) -> float:
        with self._servers[target]:
            start = time.time()
            if target == BROKER:
                self._site.grounds.broker.kill()
                self._site.grounds.restart()
            else:
                self._site.store.kill()
                self._site.store.start()
        return start

    def _wipe(self) -> float:
        """Empty the store, then do what an operator would do: `headrace backfill`."""
        site = self._site
        with self._servers[BROKER], self._servers[STORE], site.redis() as store:
            start = time.time()
            store.flushall()
            Backfill(site.loop, site.grounds.client, store, site.namespace).begin(lambda topic, messages: None)
        return start

    def _disturb(self, fault: Fault) -> float:
        to_broker = fault.kind in (Kind.CUT_BROKER, Kind.SILENCE_BROKER)
        link = (self._site.grounds.links if to_broker else self._site.stores)[fault.target]
        start = time.time()
        if fault.kind in (Kind.CUT_BROKER, Kind.CUT_STORE):
            link.cut()
        elif fault.kind is Kind.SLOW_STORE:
            link.delay(fault.delay)
        else:
            link.stall()
        self._pause.wait(fault.seconds)
        link.heal()
        return start

    def _fill_disk(self, seconds: float) -> None:
        """Send each checkpoint to a device that is always full: link the file that a learner writes first to it."""
        directory = self._site.data("learner") / "checkpoints"
        directory.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + seconds
        paths = set()
        while time.monotonic() < until:
            pids = [pid for name, pid in self._site.supervisor.pids.items() if name.startswith("learner")]
            for model, pid in itertools.product(self._site.loop.models, pids):
                path = directory / f"{model.name}.ckpt.{pid}.tmp"
                with suppress(FileExistsError):
                    path.symlink_to("/dev/full")
                    paths.add(path)
            self._pause.wait(0.01)
        for path in paths:
            if path.is_symlink():
                path.unlink(missing_ok=True)
