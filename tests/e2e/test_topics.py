"""The Python programs of the page on topics write events that count, and read each row once."""

from __future__ import annotations

from pathlib import Path

import mmh3
import pytest

from headrace import embedded
from headrace.runtime.pulsar.routing import partition_of
from tests.brokers import Runs
from tests.clients.ground import LEARNED, WRONG, disturb, learned_loop, read
from tests.clients.page import at_home, lines_of, programs
from tests.deadline import until
from tests.processes import python_output

WRITTEN = [f"PY{number}" for number in range(20)]


def test_programs_write_and_read_as_the_page_shows(tmp_path: Path, runs: Runs) -> None:
    with learned_loop(tmp_path, runs.options) as running:
        python_output(at_home(programs("python").write, running))
        until(lambda: lines_of(read(running)), _is_complete, 60)
        disturb(running)
        output = read(running)
        assert _misplaced(running) == 0
    lines = lines_of(output)
    assert WRONG not in output
    predicted = [id for id, version in lines["prediction"] if int(version) == LEARNED]
    assert sorted(id for id in predicted if id in WRITTEN) == sorted(WRITTEN)
    assert len(set(predicted)) == len(predicted)
    entries = sorted((int(seq), id) for kind in ("question", "answer") for seq, id in lines[kind])
    assert [seq for seq, _ in entries] == list(range(LEARNED + LEARNED + len(WRITTEN)))
    assert {id for _, id in lines["question"]} >= set(WRITTEN)
    assert len(lines["answer"]) == LEARNED
    assert [int(examples) for examples, _ in lines["version"]] == [10, 20, 30]


@pytest.mark.parametrize("partitions", [2, 3, 7])
def test_the_page_hashes_keys_as_the_loop_does(partitions: int) -> None:
    keys = [f"key {number}" * (number % 9) for number in range(200)]
    hashes = [mmh3.hash(key, signed=False) & 0x7FFFFFFF for key in keys]
    assert [value % partitions for value in hashes] == [partition_of(key, partitions) for key in keys]


def _is_complete(lines: dict[str, list[list[str]]]) -> bool:
    predicted = {id for id, _ in lines.get("prediction", [])}
    asked = {id for _, id in lines.get("question", [])}
    return predicted & asked >= set(WRITTEN)


def _misplaced(running: embedded.RunningLoop) -> int:
    return sum(status.counters.get("misplaced", 0) for status in running.status())
