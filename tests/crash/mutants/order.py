"""The feature service in the wrong order: it saves rows and progress before it sends the vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace_feature.__main__ import main
from headrace_feature.fold_worker import FoldWorker
from headrace_feature.pulsar.outputs import VectorOutputs
from tests.crash.mutants.mortal import moments

_Call = Callable[[], None]


def send_last() -> None:
    """Hold back everything that a step sends until its end; some process dies before."""
    send, reached, flush, step = VectorOutputs.send, VectorOutputs.reached, VectorOutputs.flush, FoldWorker.step
    held: list[_Call] = []
    vectors: list[object] = []

    def hold_vectors(self: VectorOutputs, *arguments: Any, **options: Any) -> None:
        held.append(lambda: send(self, *arguments, **options))
        vectors.append(self)

    def hold_reached(self: VectorOutputs, *arguments: Any, **options: Any) -> None:
        held.append(lambda: reached(self, *arguments, **options))

    def emit(self: VectorOutputs) -> None:
        VectorOutputs.send, VectorOutputs.reached = send, reached  # type: ignore[method-assign]
        for call in held:
            call()
        held.clear()
        flush(self)
        VectorOutputs.send, VectorOutputs.reached = hold_vectors, hold_reached  # type: ignore[method-assign]

    def stepped(self: FoldWorker) -> bool:
        more = step(self)
        if vectors:
            vectors.clear()
            moments.steps += 1
            moments.reached("saved")
        emit(self._outputs)
        return more

    VectorOutputs.send, VectorOutputs.reached = hold_vectors, hold_reached  # type: ignore[method-assign]
    VectorOutputs.flush = lambda self: None  # type: ignore[method-assign]
    FoldWorker.step = stepped  # type: ignore[method-assign]


if __name__ == "__main__":
    send_last()
    main()
