"""The reason why an estimator has no compiled form."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """The reason why River itself must learn an estimator.

    Attributes
    ----------
    reason
        A sentence for the user, without its full stop.
    """

    reason: str
