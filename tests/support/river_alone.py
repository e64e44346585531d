"""A learner without compiled code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headrace.engine.learning import learning
from headrace.engine.learning.refusal import Refusal


@contextmanager
def river_alone() -> Iterator[None]:
    """Let River learn everything within this context."""
    choose = learning.learner_of
    learning.learner_of = lambda *_: Refusal("River is wanted")  # type: ignore[assignment]
    try:
        yield
    finally:
        learning.learner_of = choose


def is_compiled(model: Any) -> bool:
    """Return whether a model was learned by compiled code."""
    return model.refusal is None and model.progress.next_seq > 0
