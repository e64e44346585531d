"""The targets beside headrace, and how each is started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.bench.peers import client
from tests.bench.peers.rounds import Target
from tests.bench.peers.servers import PeerFailed, Servers
from tests.bench.peers.workload import Workload

HEADRACE, FLOOR, NOOP = "headrace", "raw floor", "no-op gRPC"


class Checked(Target, Protocol):
    """A target whose answers can be compared."""

    async def values(self, model: str, numbers: Sequence[int]) -> list[float]: ...


#: How each target is started; those that share an environment are different servers.
Start = Callable[[Servers, Workload], list[Checked]]


def _floor(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("grpc", "raw")
    server.wait_for_port()
    address = f"127.0.0.1:{server.port}"
    return [
        client.over_grpc(NOOP, address, workload, client.NoopSession),
        client.over_grpc(FLOOR, address, workload, client.GrpcSession),
    ]


def _grpc(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("grpc", "redis-py")
    server.wait_for_port()
    return [client.over_grpc("grpc.aio + redis-py", f"127.0.0.1:{server.port}", workload, client.GrpcSession)]


def _mlserver(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("mlserver")
    server.wait_for_port()
    return [client.over_grpc("MLServer, no store", f"127.0.0.1:{server.port}", workload, client.InferenceSession)]


def _http(
    peer: str, name: str, session: Callable[..., client.Session], *options: str
) -> Callable[[Servers, Workload], list[Checked]]:
    def start(servers: Servers, workload: Workload) -> list[Checked]:
        server = servers.start(peer, *options)
        server.wait_for_port()
        return [client.over_http(name, f"http://127.0.0.1:{server.port}", workload, session)]

    return start


def _feast_sdk(servers: Servers, workload: Workload) -> list[Checked]:
    server = servers.start("feast", "sdk")
    server.wait_for_line()
    return [client.FeastSdk("Feast SDK, features only", server.ask, workload)]


PEERS: dict[str, Start] = {
    "floor": _floor,
    "grpc": _grpc,
    "fastapi": _http("fastapi", "FastAPI + redis-py", client.FastApiSession),
    "feast-sdk": _feast_sdk,
    "feast-http": _http("feast", "Feast HTTP, features only", client.FeastSession, "http"),
    "mlserver": _mlserver,
    "bentoml": _http("bentoml", "BentoML + redis-py", client.BentoMlSession),
}


def start_peers(servers: Servers, workload: Workload, names: Sequence[str]) -> tuple[list[Checked], dict[str, str]]:
    """Start the servers one after another; return their targets, and why some are missing."""
    started: list[Checked] = []
    left_out: dict[str, str] = {}
    for name in names:
        print(f"peer {name}: starting", file=sys.stderr, flush=True)
        try:
            started += PEERS[name](servers, workload)
        except (PeerFailed, subprocess.CalledProcessError) as failure:
            left_out[name] = str(failure)
    return started, left_out
