"""A loop continues under new names: rows, examples, versions and checkpoints are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace import embedded
from headrace.cli.program import run
from headrace.embedded import RunningLoop
from headrace.runtime.redis.connection import connect
from headrace.runtime.redis.definitions import DefinitionStore
from tests.deadline import until
from tests.support.renamed_shop import SECOND, START, send, write

RENAMES = (
    ("sales = View(Sold,", 'takings = View(Sold, was="sales",'),
    ("late = Label(Sold,", 'tardy = Label(Sold, was="late",'),
    ("label=late", "label=tardy"),
    ("[sales,", "[takings,"),
    ('"delay",', '"lateness", was="delay",'),
)


def newest(loop: RunningLoop) -> int:
    """Return the number of examples in the version that the scorer answers with."""
    return max(
        (n for status in loop.status() if status.service == "scorer" for n in status.versions.values()), default=0
    )


def test_a_renamed_loop_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after, data = write(tmp_path, "shop.py"), write(tmp_path, "renamed.py", *RENAMES), tmp_path / "data"
    with embedded.run(before, data=data) as loop:
        send(loop, range(300))
        until(lambda: newest(loop) >= 200, seconds=60)
        learned, old = newest(loop), loop.definition
        with connect(loop.redis_url) as store:
            assert DefinitionStore(store, "shop").read() == old
        capsys.readouterr()
        assert run(["check", str(after), "--against", str(data), "--json"]) == 0
        changes = json.loads(capsys.readouterr().out)["changes"]
        assert {change["outcome"] for change in changes} == {"kept"}
    with embedded.run(after, data=data) as loop:
        until(lambda: newest(loop) >= learned, seconds=60)
        assert loop.definition.models[0].hash == old.models[0].hash
        event = json.dumps({"shop": "s1", "price": 2.0, "at": START + 300 * SECOND})
        for name in ("lateness", "delay"):
            assert run(["score", name, "--data", str(data), "--explain", "--event", event]) == 0
            out = capsys.readouterr().out
            assert "version  lateness after" in out
            [count] = [line.split()[1] for line in out.splitlines() if "takings.count.1h" in line]
            assert float(count) > 0
        send(loop, range(300, 600))
        until(lambda: newest(loop) >= 500, seconds=60)
    [log] = (data / "logs").glob("feature.log")
    assert "a view is new" not in log.read_text()
