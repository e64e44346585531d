"""The feature service, which kills or suspends itself between two effects: it has no other fault.

``HEADRACE_MOMENTS`` lists the moments, each with a ``-`` (the process dies there) or a ``~`` (it sleeps there for
longer than the broker takes to reassign its partitions, and wakes up as a zombie in the middle of a step). Each comes
once in a run, to the first process that gets there often enough. If ``HEADRACE_WAKE`` names a file, the process sleeps
until the file exists.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.runtime.redis.pairs import JoinState, PairStore
from headrace.runtime.redis.partitions import PartitionStore
from headrace.runtime.redis.rows import RowStore
from headrace.wire.tables import decode_log
from headrace_feature.__main__ import main
from headrace_feature.join_log import JoinLog
from headrace_feature.pulsar.outputs import VectorOutputs

#: Steps whose vectors a process sends before it dies or sleeps. None dies before another one has fallen asleep.
_STEPS = {"-": 1, "~": 4}

#: Seconds: the broker notices within two keep-alive intervals of 5.
_SLEEP_S = 12.5

#: Delay of each step (s) until a process falls asleep, so that the step in which it sleeps has much to do.
_SLOW_S = 0.4


class Moments:
    """The planned moments, which end or suspend this process."""

    def __init__(self, planned: str, directory: str, wake: str = "") -> None:
        self._planned = {entry[1:]: entry[0] for entry in planned.split(",") if entry}
        self._directory = Path(directory)
        self._wake = wake
        self.steps = 0

    def reached(self, moment: str) -> None:
        """Die or sleep here if it is planned."""
        kind = self._planned.get(moment)
        if kind is None or self.steps < _STEPS[kind] or (kind == "-" and self.awaits_sleeper()):
            return
        del self._planned[moment]
        try:
            self._mark(moment).touch(exist_ok=False)
        except FileExistsError:
            return  # another process was quicker
        if kind == "~":
            self._sleep()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def _sleep(self) -> None:
        process, wakes = os.getpid(), time.time() + _SLEEP_S
        wait = f"while kill -0 {process} && [ ! -e '{self._wake}' ]; do sleep 0.1; done" if self._wake else ""
        command = f"{wait or f'sleep {_SLEEP_S}'}; kill -CONT {process}"
        subprocess.Popen(["sh", "-c", command], start_new_session=True)
        os.kill(process, signal.SIGSTOP)
        # This thread may run on for a moment, until the signal has stopped every thread.
        while not (os.path.exists(self._wake) if self._wake else time.time() >= wakes):
            time.sleep(0.01)

    def awaits_sleeper(self) -> bool:
        """Return whether a planned sleep is still to come."""
        return any(kind == "~" and not self._mark(moment).exists() for moment, kind in self._planned.items())

    def _mark(self, moment: str) -> Path:
        return self._directory / f"was-{moment}"


moments = Moments(
    os.environ.get("HEADRACE_MOMENTS", ""), os.environ.get("HEADRACE_DATA", "."), os.environ.get("HEADRACE_WAKE", "")
)


def after(owner: type, method: str, moment: str, when: Callable[..., bool] = lambda *arguments: True) -> None:
    """Reach a moment after each call of a method that had something to do."""
    original = getattr(owner, method)

    def wrapped(self: Any, *arguments: Any, **options: Any) -> Any:
        result = original(self, *arguments, **options)
        if when(self, *arguments):
            moments.reached(moment)
        return result

    setattr(owner, method, wrapped)


def before(owner: type, method: str, moment: str) -> None:
    """Reach a moment before each call of a method."""
    original = getattr(owner, method)

    def wrapped(self: Any, *arguments: Any, **options: Any) -> Any:
        moments.reached(moment)
        return original(self, *arguments, **options)

    setattr(owner, method, wrapped)


def make_mortal() -> None:
    """Put a moment after each effect of a step."""
    sending, flushing = VectorOutputs.send, VectorOutputs.flush
    sent: set[int] = set()

    def send(self: VectorOutputs, *arguments: Any, **options: Any) -> None:
        sending(self, *arguments, **options)
        sent.add(id(self))

    def flush(self: VectorOutputs) -> None:
        flushing(self)
        if id(self) in sent:
            sent.clear()
            moments.steps += 1
            if moments.awaits_sleeper():
                time.sleep(_SLOW_S)
            moments.reached("emitted")

    VectorOutputs.send, VectorOutputs.flush = send, flush  # type: ignore[method-assign]
    after(PartitionStore, "record_emitted", "recorded")
    before(RowStore, "write", "writing")
    after(RowStore, "write", "written")
    after(PartitionStore, "save", "saved")
    after(PairStore, "save", "decided", lambda self, epoch, state, *rest: bool(state.outbox))
    after(JoinLog, "send_outbox", "joined", _sends_answers)


def _sends_answers(log: JoinLog, state: JoinState) -> bool:
    return any(len(decode_log(log.model, message).answers) for message in state.outbox)


if __name__ == "__main__":
    make_mortal()
    main()
