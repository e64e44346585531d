"""An event on which the kernel of a running service fails: it is refused, fixed, sent again, and counted once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import embedded
from headrace.cli.program import run
from headrace.client import IngestClient
from tests.deadline import until
from tests.support.shop import LOOP, SECOND, START, Shop

#: Python runs this first in each service: while a file exists, views fail on one shop.
CHOKING = """
import os
from headrace.engine.kernel.preparation import Folding

prepare = Folding.prepare

def choking(self, events):
    if os.path.exists({flag!r}) and "poison" in events.fields["shop"]:
        raise ArithmeticError("this shop is poison")
    return prepare(self, events)

Folding.prepare = choking
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    def call(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["dead-letters", *arguments, "--data", str(tmp_path / "data")]) == 0
        return capsys.readouterr().out

    return call


def test_a_poison_event_is_refused_and_counts_once_when_it_is_sent_again(
    tmp_path: Path, call: Callable[..., str]
) -> None:
    flag, file, site = tmp_path / "poisonous", tmp_path / "loop.py", tmp_path / "site"
    flag.touch()
    site.mkdir()
    (site / "sitecustomize.py").write_text(CHOKING.format(flag=str(flag)))
    file.write_text(LOOP.replace('class Sold(Stream, key="shop",', 'class Sold(Stream, lateness="1h", key="shop",'))
    path = {"PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with (
        embedded.run(file, data=tmp_path / "data", environment=path) as running,
        IngestClient(running.addresses["ingest"]) as client,
    ):
        assert running.servers.broker is not None
        shop = Shop(running, running.servers.broker)
        sold = [(0, "s"), (10, "poison"), (20, "s"), (30, "poison")]
        client.publish_stream("sold", [_event(second, name, late=True) for second, name in sold])
        shop.events(2)
        letters = [json.loads(line) for line in call("list", "--json").splitlines()]
        assert [letter["event"]["id"] for letter in letters] == ["10", "30"]
        reason = "poison to view 'sales' (ArithmeticError: this shop is poison)"
        assert {(letter["stream"], letter["value"], letter["service"]) for letter in letters} == {
            ("sold", reason, "feature")
        }
        assert all(letter["topic"] == shop.topics.stream("sold") and letter["stood"] for letter in letters)
        flag.unlink()
        first = letters[0]["position"]
        assert call("retry", first) == f"{first}  sold: taken\n"
        shop.events(3)
        assert json.loads(call("list", "--json"))["position"] == letters[1]["position"]
        call("retry", first)
        client.publish("sold", _event(10, "poison", late=True))
        until(lambda: _counter(running, "resent"), lambda found: found == 2)
        client.publish_stream("asked", [_event(40, "s"), _event(41, "poison")])
        with client.stream() as stream:
            for name in ("asked", "sold"):
                stream.send(name, [], end=True)
            stream.finish()
        assert shop.vectors(2) == {"40": 2.0, "41": 1.0}
        until(lambda: running.status(), lambda statuses: any(one.counters.get("labels") == 3 for one in statuses))
        shop.client.close()


def _event(second: int, shop: str, **more: object) -> dict[str, object]:
    return {"id": str(second), "at": START + second * SECOND, "shop": shop} | more


def _counter(running: embedded.RunningLoop, name: str) -> int:
    return sum(status.counters.get(name, 0) for status in running.status() if status.service == "feature")
