"""The requests of a stream that have no answer yet; internal."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_Request = TypeVar("_Request")


class RequestWindow(Generic[_Request]):
    """The requests of a stream that have no answer yet, in order: a call that replaces a failed one sends them again.

    It does no I/O and holds no lock: the feeds of `headrace.client.feeds` wait for its changes.

    Parameters
    ----------
    limit
        Requests without an answer, at most.
    """

    def __init__(self, limit: int) -> None:
        self.error: BaseException | None = None
        self._limit = limit
        self._requests: deque[_Request] = deque()
        self._sent = 0
        self._call = 0
        self._complete = False
        self._closed = False

    def open(self) -> int:
        """Begin a call, which replaces the one before; return its number."""
        self._call += 1
        self._sent = 0
        return self._call

    def has_room(self) -> bool:
        """Return whether a request may be added, or none is wanted any more."""
        return self._closed or len(self._requests) < self._limit

    def add(self, request: _Request) -> bool:
        """Add the next request; return whether it is still wanted."""
        self._requests.append(request)
        return not self._closed

    def complete(self, error: BaseException | None = None) -> None:
        """Note that no request follows, perhaps because the caller's iterator raised an error."""
        self._complete = True
        self.error = error

    def has_news(self, call: int) -> bool:
        """Return whether a call has something to send, or an end to come to."""
        return self._ends(call) or self._sent < len(self._requests)

    def next(self, call: int) -> _Request | None:
        """Return the next request that a call sends; None if it ends."""
        if self._ends(call):
            return None
        self._sent += 1
        return self._requests[self._sent - 1]

    def answer(self) -> None:
        """Note that the oldest request was answered."""
        self._requests.popleft()
        self._sent -= 1

    def close(self) -> None:
        """Ask for no further requests, and end all calls."""
        self._closed = True

    def _ends(self, call: int) -> bool:
        return self._closed or call != self._call or (self._complete and self._sent == len(self._requests))
