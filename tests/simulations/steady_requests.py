"""Requests at a fixed rate, with the outcome of each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grpc

from headrace.v1 import scoring_pb2, scoring_pb2_grpc

#: Maximum number of requests in flight; further ones start late.
_IN_FLIGHT = 32

#: Seconds after which a request has failed.
_TIMEOUT_S = 5.0


class Answered(NamedTuple):
    """A request that was answered.

    Attributes
    ----------
    at
        When its answer arrived (`time.monotonic`).
    seconds
        How long it took from when it was due.
    definition
        The hash of the model's definition that answered.
    """

    at: float
    seconds: float
    address: str
    definition: str
    examples: int
    degradations: tuple[str, ...]


class SteadyRequests(threading.Thread):
    """A thread that sends requests to scorers in turn at a fixed rate, however long the answers take.

    Parameters
    ----------
    request
        Makes the request with a given number.
    addresses
        The scorers that are asked; assign others as a load balancer would.
    """

    def __init__(
        self, request: Callable[[int], scoring_pb2.ScoreRequest], addresses: Sequence[str], per_second: float
    ) -> None:
        super().__init__(name="steady-requests", daemon=True)
        self.addresses = tuple(addresses)
        self.failures: list[str] = []
        self.answers: list[Answered] = []
        self._request = request
        self._apart = 1.0 / per_second
        self._stubs: dict[str, scoring_pb2_grpc.ScoringServiceStub] = {}
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop sending, and wait for the answers that are due."""
        self._stopping.set()
        self.join()

    def leave(self, addresses: Sequence[str]) -> None:
        """Ask only these scorers from now on; return once no request to another one is in flight."""
        with self._lock:  # a request that has chosen its scorer is in flight
            self.addresses = tuple(addresses)
        while any(count for address, count in self._in_flight.items() if address not in addresses):
            time.sleep(0.01)

    def run(self) -> None:
        start = time.monotonic()
        number = 0
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            while not self._stopping.wait(max(start + number * self._apart - time.monotonic(), 0.0)):
                with self._lock:
                    address = self.addresses[number % len(self.addresses)]
                    self._in_flight[address] += 1
                pool.submit(self._ask, address, number, start + number * self._apart)
                number += 1

    def _ask(self, address: str, number: int, due: float) -> None:
        try:
            scored = self._stub(address).Score(self._request(number), timeout=_TIMEOUT_S)
        except Exception as error:
            # The caller has no answer, whatever the error is.
            reason = error.details() if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call) else error
            self.failures.append(f"{address}: {reason}")
        else:
            now = time.monotonic()
            names = tuple(scoring_pb2.Degradation.Name(degradation) for degradation in scored.degradations)
            version = scored.version
            self.answers.append(Answered(now, now - due, address, version.definition, version.examples, names))
        finally:
            with self._lock:
                self._in_flight[address] -= 1

    def _stub(self, address: str) -> scoring_pb2_grpc.ScoringServiceStub:
        with self._lock:
            if address not in self._stubs:
                channel = grpc.insecure_channel(address)
                self._stubs[address] = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]
            return self._stubs[address]
