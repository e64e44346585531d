"""Sending and playing files, and their interruption, against a fake service behind a real gRPC server."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from headrace.cli.program import run
from headrace.client import send
from headrace.definition import Field, FieldType, LoopDefinition, StreamDefinition
from headrace.embedded.locks import DirectoryLock
from headrace.embedded.up_file import UP_FILE, UpFile
from headrace.wire.compiled_loop import encode
from tests.unit.client.services import FakeIngest, add_ingest, serving

FIELDS = (Field("id", FieldType.STRING), Field("at", FieldType.TIME))
CLICKS = StreamDefinition("clicks", FIELDS, key="id", time="at", id="id", lateness=0, horizon=0, time_format="us")
EVENTS = 50_000


class Ingest(FakeIngest):
    """An ingest service that interrupts this process with its first events."""

    def PublishStream(self, request_iterator, context):  # type: ignore[no-untyped-def]  # noqa: N802
        def requests():  # type: ignore[no-untyped-def]
            for number, request in enumerate(request_iterator):
                if number == 0:
                    os.kill(os.getpid(), signal.SIGINT)
                yield request

        return super().PublishStream(requests(), context)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clicks.jsonl"
    path.write_text("".join(f'{{"id": "c{number}", "at": {number}}}\n' for number in range(EVENTS)))
    return path


@pytest.fixture
def ingest() -> FakeIngest:
    return FakeIngest()


@pytest.fixture
def address(ingest: FakeIngest) -> Iterator[str]:
    with serving(partial(add_ingest, ingest)) as address:
        yield address


def test_a_file_is_sent_with_its_end(file: Path, ingest: FakeIngest, address: str) -> None:
    result = send(CLICKS, [file], address, final=True)
    assert (result.sent, result.accepted, ingest.requests[-1].end) == (EVENTS, EVENTS, True)


def test_a_stopped_send_ends_with_what_was_sent(file: Path, ingest: FakeIngest, address: str) -> None:
    sent: list[int] = []
    result = send(CLICKS, [file], address, final=True, on_progress=sent.append, stop=lambda: len(sent) == 3)
    assert (result.sent, result.accepted) == (sent[-1], sent[-1])
    assert 0 < result.sent < EVENTS
    assert not any(request.end for request in ingest.requests)


@pytest.mark.parametrize("as_json", [True, False])
def test_an_interrupted_command_says_how_many_were_accepted(
    file: Path, tmp_path: Path, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    definition = tmp_path / "loop.json"
    definition.write_bytes(encode(LoopDefinition("shop", (CLICKS,), (), (), ())))
    handler = signal.getsignal(signal.SIGINT)
    ingest = Ingest()
    with serving(partial(add_ingest, ingest)) as address:
        options = ["--address", address, "--definition", str(definition), *(["--json"] if as_json else [])]
        assert run(["send", "clicks", str(file), *options]) == 130
    out, err = capsys.readouterr()
    accepted = len(ingest.events)
    assert 0 < accepted < EVENTS
    if as_json:
        assert json.loads(out)["accepted"] == accepted
    else:
        assert out == (
            f"interrupted: sent {accepted:,} events to clicks: {accepted:,} accepted, 0 rejected. "
            "Sending the files again is safe: an event that was accepted counts once\n"
        )
    assert "Ctrl-C again does not wait" in err
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupted_play_says_how_many_were_accepted(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    up = UpFile(
        loop="shop",
        loop_file=str(tmp_path / "shop.py"),
        pid=1,
        pulsar="pulsar://shop",
        redis="redis://127.0.0.1:1",
        data=str(tmp_path),
        addresses={},
        pids={},
    )
    (tmp_path / "up.json").write_bytes(UP_FILE.encode(up))
    (tmp_path / "loop.json").write_bytes(encode(LoopDefinition("shop", (CLICKS,), (), (), ())))
    lock = DirectoryLock(tmp_path / "up.lock")
    handler = signal.getsignal(signal.SIGINT)
    ingest = Ingest()
    with serving(partial(add_ingest, ingest)) as address:
        # At this speed only the clock sets the pace: the store is not read.
        options = ["--address", address, "--data", str(tmp_path), "--speed", "1000000"]
        assert run(["play", str(file), *options]) == 130
    lock.release()
    out, err = capsys.readouterr()
    accepted = len(ingest.events)
    assert 0 < accepted < EVENTS
    assert out.startswith(f"interrupted: played {accepted:,} events in ")
    assert f": {accepted:,} accepted, 0 rejected; " in out
    assert out.endswith(". Playing the files again is safe: an event that was accepted counts once\n")
    assert "Ctrl-C again does not wait" in err
    assert not any(request.end for request in ingest.requests)
    assert signal.getsignal(signal.SIGINT) is handler
