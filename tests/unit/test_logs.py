"""Everything that a service's process writes to its log is JSON, one object per line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from headrace.definition import LoopDefinition
from headrace.wire import compiled_loop

_PROGRAM = """
import logging, threading, warnings
import structlog
from headrace.errors import Unavailable
from headrace.runtime.service import Program, run
from headrace.runtime.settings import ServiceSettings

def app(service):
    logging.getLogger("library").warning("it %s", "says")
    logging.getLogger("library").warning("wrong %d", "number")
    warnings.warn("old")
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()
    structlog.get_logger().info("done", id="\\x1b[2J\\u202e")
    {end}

run(Program(name="learner", description="Learn.", settings=ServiceSettings, app=app))
"""


def told(end: str, directory: Path) -> list[dict[str, str]]:
    loop = directory / "loop.json"
    loop.write_bytes(compiled_loop.encode(LoopDefinition("empty", (), (), (), ())))
    command = [sys.executable, "-c", _PROGRAM.format(end=end), "--loop", str(loop)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.isascii()
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_json_whoever_writes_it(tmp_path: Path) -> None:
    lines = told("raise Unavailable('no broker')", tmp_path)
    assert [line["event"] for line in lines] == [
        *("library_message", "library_message", "library_message", "thread_failed", "done", "service_failed")
    ]
    assert all(line["service"] == "learner" for line in lines)
    assert lines[0]["message"] == "it says"
    assert lines[3]["thread"] == "worker"
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert lines[-1]["reason"] == "no broker"


def test_what_ends_the_process_is_json_too(tmp_path: Path) -> None:
    assert told("{}['nothing']", tmp_path)[-1]["reason"] == "KeyError('nothing')"


def test_a_full_disk_behind_the_log_fails_nobody() -> None:
    program = """
import structlog
from headrace.runtime import logging as logs
logs.configure("s", "s-0")
structlog.get_logger().info("x")
print("goes on")
"""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert done.stdout == "goes on\n"
