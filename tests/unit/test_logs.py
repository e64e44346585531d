"""Everything that a service's process writes to its log is JSON, one object per line."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import argparse, logging, threading, warnings
from headrace.runtime import logging as logs
from headrace.runtime import service as process
from headrace.errors import Unavailable

def serve():
    logs.configure("learner", "learner-0")
    logging.getLogger("library").warning("it %s", "says")
    logging.getLogger("library").warning("wrong %d", "number")
    warnings.warn("old")
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()
    import structlog
    structlog.get_logger().info("done", id="\\x1b[2J\\u202e")
    {end}

process.run(argparse.ArgumentParser(prog="headrace-learner"), serve)
"""


def told(end: str) -> list[dict[str, str]]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM.format(end=end)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.isascii()
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_json_whoever_writes_it() -> None:
    lines = told("raise Unavailable('no broker')")
    assert [line["event"] for line in lines] == [
        *("library_message", "library_message", "library_message", "thread_failed", "done", "service_failed")
    ]
    assert all(line["service"] == "learner" for line in lines)
    assert lines[0]["message"] == "it says"
    assert lines[3]["thread"] == "worker"
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert lines[-1]["reason"] == "no broker"


def test_what_ends_the_process_is_json_too() -> None:
    assert told("{}['nothing']")[-1]["reason"] == "KeyError('nothing')"


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
