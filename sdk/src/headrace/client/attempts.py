"""The attempts of a call, without I/O: its deadline, which failures are retried, and when; internal."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace.client import arguments
from headrace.client.failures import RETRY_S, Peer
from headrace.errors import DeadlineExceeded, Overloaded, Unavailable

#: Maximum seconds between two attempts, unless the service asks for more.
_LONGEST_S = 2.0


@dataclass(frozen=True)
class CallRules:
    """The rules of a client's calls.

    Attributes
    ----------
    timeout
        Seconds that a call may take, including its retries.
    retries
        Maximum number of retries of a call.
    concurrency
        Maximum number of concurrent calls; further ones wait.
    """

    peer: Peer
    timeout: float
    retries: int
    concurrency: int

    def __post_init__(self) -> None:
        arguments.service_address("address", self.peer.address)
        arguments.positive_seconds("timeout", self.timeout)
        arguments.whole_number("retries", self.retries, 0)
        arguments.whole_number("concurrency", self.concurrency, 1)


class Attempts:
    """The attempts of one call.

    Every call of headrace may be repeated: scores are reads, and an event counts once, by its id.

    Parameters
    ----------
    timeout
        Seconds for this call; None for those of the rules.
    """

    def __init__(
        self,
        rules: CallRules,
        timeout: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._rules = rules
        self._timeout = rules.timeout if timeout is None else arguments.time_limit("timeout", timeout)
        self._clock = clock
        self._jitter = jitter
        self._deadline = clock() + self._timeout
        self._failures = 0

    def remaining_s(self) -> float | None:
        """Return the seconds until the deadline; None if there is none.

        Raises
        ------
        DeadlineExceeded
            The deadline has passed.
        """
        if self._deadline == math.inf:
            return None
        remaining = self._deadline - self._clock()
        if remaining <= 0:
            raise self.deadline_exceeded()
        return remaining

    def pause_after(self, error: Unavailable) -> float:
        """Count a failed attempt, and return how many seconds to wait before the next one.

        Raises
        ------
        Unavailable
            The error itself, if it is final, or if no time or no retry is left.
        """
        if isinstance(error, DeadlineExceeded) or self._failures >= self._rules.retries:
            raise error
        pause = min(RETRY_S * 2.0**self._failures, _LONGEST_S)
        if isinstance(error, Overloaded):
            pause = max(pause, error.retry_s)
        # Jitter: callers that were refused together must not retry together.
        pause *= 1.0 + self._jitter() / 2
        if self._clock() + pause >= self._deadline:
            raise error
        self._failures += 1
        return pause

    def deadline_exceeded(self) -> DeadlineExceeded:
        """Return the error of a call without an answer before its deadline, even if it was never sent."""
        return DeadlineExceeded(f"{self._rules.peer} does not answer: no answer within {self._timeout:g} s")
