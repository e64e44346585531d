"""The feature service, which kills itself between two effects: nothing else is wrong with it.

``HEADRACE_MOMENTS`` lists the moments at which some process of the run dies, one after the other, each once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.store.pairs import PairStore
from headrace.store.partitions import PartitionStore
from headrace.store.rows import RowStore
from headrace_feature.__main__ import main
from headrace_feature.outputs import VectorOutputs

#: A process that dies has been there so often before.
_BEFORE = 3


class Moments:
    """Counts what happens in this process, and ends it when its moment has come."""

    def __init__(self, planned: str, directory: str) -> None:
        self._planned = [own for own in planned.split(",") if own]
        self._directory = Path(directory)
        self._seen: dict[str, int] = {}

    def reached(self, moment: str) -> None:
        """Die here, where this is the next moment planned."""
        self._seen[moment] = self._seen.get(moment, 0) + 1
        following = next((own for own in self._planned if not self._mark(own).exists()), None)
        if moment == following and self._seen[moment] > _BEFORE:
            try:
                self._mark(moment).touch(exist_ok=False)
            except FileExistsError:
                return  # another process was quicker
            os.kill(os.getpid(), signal.SIGKILL)

    def _mark(self, moment: str) -> Path:
        return self._directory / f"died-{moment}"


moments = Moments(os.environ.get("HEADRACE_MOMENTS", ""), os.environ.get("HEADRACE_DATA", "."))


def after(owner: type, method: str, moment: str, when: Callable[..., bool] = lambda *given: True) -> None:
    """Reach a moment after each call of a method, where something was to do."""
    original = getattr(owner, method)

    def wrapped(self: Any, *given: Any) -> Any:
        result = original(self, *given)
        if when(self, *given):
            moments.reached(moment)
        return result

    setattr(owner, method, wrapped)


def make_mortal() -> None:
    """Put a moment after each effect of a step."""
    sending = VectorOutputs.send
    sent: set[int] = set()

    def send(self: VectorOutputs, *given: Any) -> None:
        sending(self, *given)
        sent.add(id(self))

    VectorOutputs.send = send  # type: ignore[method-assign]
    after(VectorOutputs, "flush", "emitted", lambda self: id(self) in sent and not sent.discard(id(self)))
    after(PartitionStore, "record_emitted", "recorded")
    after(RowStore, "write", "written")
    after(PartitionStore, "save", "saved")
    after(PairStore, "save", "decided", lambda self, epoch, state, changed: bool(state.outbox))


if __name__ == "__main__":
    make_mortal()
    main()
