"""VersionTrial of a version in a separate process, bounded in time and memory, before this process loads it.

A version may come from anyone, and can run forever or ask for more memory than there is even without a loop: a
product of two vectors is enough. The fate of the child does not affect requests here.
"""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO

import msgspec
import numpy as np

from headrace.definition import FieldType, ModelDefinition
from headrace.engine.model_version import MOST_ROWS, Version, check_graph, plausible
from headrace.errors import CorruptState
from headrace.v1 import models_pb2

#: Seconds that a version may take, and bytes that it may take in addition to those of the process.
SECONDS, BYTES = 20.0, 2**30

#: Seconds of CPU time that it may take to score `MOST_ROWS` vectors: no other call is answered meanwhile.
_SCORING_S = 2.0

_LENGTH = struct.Struct("<Q")

# Created on import: msgspec inspects a type with its first decoder, and crashes if two threads do so at once.
_DEFINITION = msgspec.json.Decoder(ModelDefinition)

_MAIN = "from headrace_scorer.version_trial import serve; serve()"


class VersionTrial:
    """The child in which versions are tried; it starts with the first one, and again after one that exceeded a bound.

    Use it from one thread only.
    """

    def __init__(self, seconds: float = SECONDS, extra_bytes: int = BYTES) -> None:
        self._seconds = seconds
        self._bytes = extra_bytes
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the child, unless it runs: the first version then does not wait for its imports."""
        self._running()

    def try_version(self, model: ModelDefinition, published: models_pb2.ModelVersion) -> None:
        """Load a version in the child, and score a few vectors with it.

        Raises
        ------
        CorruptState
            It is not what the definition requires, or exceeds what a version may cost.
        """
        subject = f"model {model.name!r}: the version"
        check_graph(model.name, published.onnx)
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        # The wait below is unbounded: killing a child that takes too long ends it.
        watch = threading.Timer(self._seconds, child.kill)
        watch.start()
        try:
            with suppress(BrokenPipeError):
                _write(child.stdin, msgspec.json.encode(model))
                _write(child.stdin, published.SerializeToString())
            answer = _read(child.stdout)
        finally:
            watch.cancel()
        if answer is None:
            self.close()
            raise CorruptState(f"{subject} took more than {self._seconds:g} s or {self._bytes:,} bytes to be tried")
        if answer:
            raise CorruptState(answer.decode())

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            command = [sys.executable, "-c", _MAIN, str(self._bytes)]
            # The answer reports what the runtime would print about a forged file.
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._child


def serve() -> None:
    """Try versions until the input ends: this is the child."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (definition := _read(source)) is not None:
        payload = _read(source)
        if payload is None:
            return
        _write(target, _tried(definition, payload).encode())


def _tried(definition: bytes, payload: bytes) -> str:
    """Return what is wrong with a version; empty if nothing is."""
    try:
        _measure(Version(_DEFINITION.decode(definition), models_pb2.ModelVersion.FromString(payload)))
    except CorruptState as error:
        return str(error)
    except MemoryError:
        return "the version takes too much memory"
    return ""


def _measure(version: Version) -> None:
    """Score as many vectors as are ever scored at once: what a version takes may grow with their number."""
    features = version.model.features
    texts = sum(feature.type is FieldType.STRING for feature in features)
    values = np.resize([np.nan, 0.0, 1.0], MOST_ROWS)
    started = time.process_time()
    scores = version.score(
        np.repeat(values[:, None], len(features) - texts, axis=1), np.full((MOST_ROWS, texts), "", object)
    )
    seconds = time.process_time() - started
    subject = f"model {version.model.name!r}: the version"
    if not plausible(version.model.task, scores).all():
        raise CorruptState(f"{subject} has no answers to {MOST_ROWS:,} vectors at once, or takes too much memory")
    if seconds > _SCORING_S:
        raise CorruptState(f"{subject} takes {seconds:.1f} s for {MOST_ROWS:,} vectors, at most {_SCORING_S:g} s")


def _write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    """Return the next message; None if the other side has ended."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    return data if len(data) == length else None
