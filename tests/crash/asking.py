"""gRPC requests beside the events: sent to the scorers in turn, and to the next one if one does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from random import Random

import grpc
import orjson

from headrace.v1 import scoring_pb2, scoring_pb2_grpc
from tests.deadline import scaled

#: Seconds allowed for one scorer, and for a request in all.
_TRY_S = 1.0
_DEADLINE_S = 6.0


class Asker(threading.Thread):
    """A thread that sends several requests per second until it is stopped.

    Parameters
    ----------
    now
        The event time (µs) that the events have reached.

    Attributes
    ----------
    requests, failed
        Number of requests since each model's first answer, and of those that were not answered in time.
    slowest
        The time of the slowest answer, in seconds.
    """

    def __init__(
        self, addresses: Sequence[str], models: Sequence[str], seed: int, now: Callable[[], int], rate: float = 10.0
    ) -> None:
        super().__init__(name="asker", daemon=True)
        self.requests = 0
        self.failed = 0
        self.degraded = 0
        self.slowest = 0.0
        self.failures: list[str] = []
        self._models = models
        self._draw = Random(seed)
        self._now = now
        self._rate = rate
        self._stopping = threading.Event()
        self._channels = [self._channel(address) for address in addresses]
        self._stubs = [scoring_pb2_grpc.ScoringServiceStub(channel) for channel in self._channels]  # type: ignore[no-untyped-call]

    def run(self) -> None:
        number = 0
        ready: set[str] = set()
        while not self._stopping.wait(1 / self._rate):
            number += 1
            model = self._models[number % len(self._models)]
            start = time.monotonic()
            error = self._ask(self._request(model, number), number, patient=model in ready)
            if error is None:
                ready.add(model)
            # A request that is still being retried when the run ends might have been answered.
            in_time = time.monotonic() - start < scaled(_DEADLINE_S)
            if model in ready and not (error is not None and in_time and self._stopping.is_set()):
                self._count(error, start)

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        for channel in self._channels:
            channel.close()

    def _count(self, error: str | None, start: float) -> None:
        self.requests += 1
        self.slowest = max(self.slowest, time.monotonic() - start)
        if error is not None:
            self.failed += 1
            self.failures.append(f"{time.time():.3f} {error}")

    def _ask(self, request: scoring_pb2.ScoreRequest, number: int, patient: bool) -> str | None:
        # Before a model's first version no scorer can answer, so do not retry.
        deadline = time.monotonic() + (scaled(_DEADLINE_S) if patient else 0.0)
        turn = number // len(self._models)
        while True:
            try:
                response = self._stubs[turn % len(self._stubs)].Score(request, timeout=_TRY_S)
            except grpc.RpcError as error:
                turn += 1
                if time.monotonic() > deadline or self._stopping.is_set():
                    return f"{error.code().name}: {error.details()}"
                self._stopping.wait(0.05)
            else:
                self.degraded += bool(response.degradations)
                return None

    def _request(self, model: str, number: int) -> scoring_pb2.ScoreRequest:
        draw = self._draw
        event = {
            "order": f"q{number}",
            "at": self._now(),
            "shop": f"s{draw.randrange(40)}",
            "customer": f"c{draw.randrange(200)}",
            "courier": f"r{draw.randrange(30)}",
            "amount": round(draw.lognormvariate(3, 1), 2),
            "express": False,
        }
        return scoring_pb2.ScoreRequest(model=model, event=orjson.dumps(event), event_id=f"q{number}")

    @staticmethod
    def _channel(address: str) -> grpc.Channel:
        backoff = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
                   ("grpc.max_reconnect_backoff_ms", 500)]  # fmt: skip
        return grpc.insecure_channel(address, options=backoff)
