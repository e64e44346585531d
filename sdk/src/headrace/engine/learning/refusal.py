"""The reason why River learns an estimator, and not compiled code."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """The reason why River itself must learn an estimator.

    Attributes
    ----------
    reason
        A sentence for the user, without its full stop.
    is_failure
        Whether the estimator has a compiled form, or may have one, but this process cannot use it.
    error
        What was raised, if that is why.
    """

    reason: str
    is_failure: bool = False
    error: Exception | None = None
