"""Health check of a container: exit code 0 if its service is ready, else a line that says what is unreachable."""

from __future__ import annotations

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SECONDS = 3


def main() -> int:
    """Ask the port that the service binds."""
    port = os.environ["HEADRACE_BIND"].rpartition(":")[2]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer, call = health_pb2_grpc.HealthStub(channel).Check.with_call(
                health_pb2.HealthCheckRequest(), timeout=_SECONDS
            )
        except grpc.RpcError as error:
            sys.stderr.write(f"{error.code()}\n")
            return 1
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return 0
    unreachable = [value for name, value in call.trailing_metadata() if name == "headrace-unreachable"]
    sys.stderr.write(f"not ready: cannot reach {', '.join(unreachable)}\n" if unreachable else "not ready\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
