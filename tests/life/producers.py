"""The ways in which users write events: files by `play` and `send`, gRPC, and bare Pulsar producers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson
import pulsar

from headrace import embedded
from headrace.client import IngestClient, PlayResult, SendResult, play, send
from headrace.engine.marks import MARK
from headrace.runtime.pulsar.routing import route
from headrace.wire.topics import Topics
from tests.deadline import until
from tests.life.answer import Answer
from tests.life.chapters import Planned
from tests.life.loops import IDLE_S, KEYS
from tests.life.plan import Write

#: Seconds that a disturbed play would take without the disturbance.
_PLAY_S = 4.0

#: Events of one gRPC request, so that a call alternates between streams.
_RUN = 25


class Producers:
    """A writer of events into a running loop.

    Parameters
    ----------
    begins
        The time (µs) to which planned events are relative.
    patience
        Seconds that a condition may take.
    """

    def __init__(self, directory: Path, begins: int, now: Callable[[], int], patience: float) -> None:
        self._directory = directory
        self._begins = begins
        self._now = now
        self._patience = patience
        self._files = 0

    def write(self, running: embedded.RunningLoop, action: Write, arrived: Callable[[], int]) -> Answer | None:
        """Write the events of an action; `arrived` counts the events on the streams.

        Returns the answer of `play` or `send`; None if the action used neither.
        """
        now = self._now()
        payloads = {
            name: [self._payload(event, now) for event in events] for name, events in action.events.items() if events
        }
        if not payloads:
            return None
        if action.disturbed:
            self._play_disturbed(running, action, payloads, arrived)
        elif action.how == "play":
            return self._play(running, action, payloads)
        elif action.how == "send":
            return self._send(running, payloads)
        elif action.how == "grpc":
            self._grpc(running, action, payloads)
        else:
            self._pulsar(running, action, payloads)
        return None

    def _play(self, running: embedded.RunningLoop, action: Write, payloads: Mapping[str, Sequence[bytes]]) -> Answer:
        files, address = self._write_files(payloads), _ingest(running)
        return _answer(play(running.definition, files, address, running.redis_url, final=not action.more))

    def _send(self, running: embedded.RunningLoop, payloads: Mapping[str, Sequence[bytes]]) -> Answer:
        files, address = self._write_files(payloads), _ingest(running)
        answers = [_answer(send(running.definition.stream(name), [path], address)) for path, name in files]
        return Answer(*map(sum, zip(*answers, strict=True)))

    def _payload(self, event: Planned, now: int) -> bytes:
        at = event.at + (now if event.live else self._begins)
        return orjson.dumps({**event.fields, "at": at})

    def _write_files(self, payloads: Mapping[str, Sequence[bytes]]) -> list[tuple[Path, str]]:
        self._files += 1
        files = []
        for name, lines in payloads.items():
            path = self._directory / f"{self._files:03d}-{name}.jsonl"
            path.write_bytes(b"".join(line + b"\n" for line in lines))
            files.append((path, name))
        return files

    def _grpc(self, running: embedded.RunningLoop, action: Write, payloads: Mapping[str, Sequence[bytes]]) -> None:
        with IngestClient(_ingest(running)) as client, client.stream() as stream:
            for name, run in _in_turn(action, payloads):
                stream.send(name, run)
            stream.finish()

    def _pulsar(self, running: embedded.RunningLoop, action: Write, payloads: Mapping[str, Sequence[bytes]]) -> None:
        client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
        topics = Topics(running.definition.name, running.namespace)
        producers = {name: client.create_producer(topics.stream(name), message_router=route) for name in payloads}
        for name, run in _in_turn(action, payloads):
            for payload in run:
                producers[name].send(payload, partition_key=str(orjson.loads(payload)[KEYS[name]]))
        for producer in producers.values():
            producer.flush()
            producer.close()
        client.close()

    def mark_wrongly(self, running: embedded.RunningLoop, stream: str) -> None:
        """Mark each partition of a stream with the greatest int64, as any Pulsar client may."""
        client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
        topic = Topics(running.definition.name, running.namespace).stream(stream)
        for physical in client.get_topic_partitions(topic):
            producer = client.create_producer(physical)
            producer.send(b"", properties={MARK: str(2**63 - 1)})
            producer.close()
        client.close()

    def _play_disturbed(
        self,
        running: embedded.RunningLoop,
        action: Write,
        payloads: Mapping[str, Sequence[bytes]],
        arrived: Callable[[], int],
    ) -> None:
        """Run `headrace play` as a user does in a terminal: stopped by Ctrl-C, or suspended for a while."""
        times = [orjson.loads(payload)["at"] for lines in payloads.values() for payload in lines]
        span = (max(times) - min(times)) / 1e6
        files = [f"{name}={path}" for path, name in self._write_files(payloads)]
        command = [sys.executable, "-m", "headrace.cli", "play", *files]
        command += ["--data", str(running.data), "--speed", f"{max(span / _PLAY_S, 1.0):.3f}"]
        before = arrived()
        with (self._directory / "play.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            until(lambda: arrived() > before or process.poll() is not None, seconds=self._patience)
            if action.disturbed == "interrupted":
                process.send_signal(signal.SIGINT)
            else:
                process.send_signal(signal.SIGSTOP)
                threading.Event().wait(action.idles * IDLE_S)
                process.send_signal(signal.SIGCONT)
            process.wait(self._patience)
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()


def _answer(result: PlayResult | SendResult) -> Answer:
    return Answer(*(getattr(result, name) for name in Answer._fields))


def _ingest(running: embedded.RunningLoop) -> str:
    return until(lambda: running.addresses.get("ingest", ""))


def _in_turn(action: Write, payloads: Mapping[str, Sequence[bytes]]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield runs of the streams in turn, by the time of their first event."""
    runs = [
        (action.events[name][start].at, name, list(lines[start : start + _RUN]))
        for name, lines in payloads.items()
        for start in range(0, len(lines), _RUN)
    ]
    for _, name, run in sorted(runs, key=lambda item: item[:2]):
        yield name, run
