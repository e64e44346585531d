"""`headrace check --against`: a changed file beside the broker, store and data directory of a running loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pulsar
import pytest

from headrace import compiler, embedded
from headrace.cli.program import run
from headrace.embedded.locks import DirectoryLock
from headrace.embedded.up_file import UP_FILE, UpFile
from headrace.runtime.pulsar.admin import Admin
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.pulsar.provisioning import provision
from headrace.runtime.pulsar.stream_schema import StreamSchema
from headrace.runtime.redis.connection import connect
from headrace.runtime.redis.definitions import DefinitionStore
from headrace.runtime.redis.quality import QualityBoard, QualityReport
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from headrace.wire import compiled_loop
from tests.brokers import Place
from tests.support.changed_loops import LOOP, MORE

START = 1_700_000_000_000_000
HOUR = 3_600_000_000


class Site:
    """A running loop, as far as its files, its broker and its store show."""

    def __init__(self, data: Path, redis_url: str, place: Place) -> None:
        self.data = data
        self.redis_url = redis_url
        self.place = place

    def file(self, *edits: tuple[str, str]) -> Path:
        text = LOOP
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        path = self.data / "loop.py"
        path.write_text(text)
        return path


@pytest.fixture
def site(tmp_path: Path, place: Place) -> Iterator[Site]:
    with ExitStack() as stack:
        redis_url = stack.enter_context(embedded.store(tmp_path / "store")).url
        site = Site(tmp_path / "data", redis_url, place)
        site.data.mkdir()
        loop = compiler.load(site.file()).definition
        (site.data / "loop.json").write_bytes(compiled_loop.encode(loop))
        if place.admin_url:
            provision(Admin(place.admin_url), loop, place.namespace)
        client = pulsar.Client(place.url)
        stack.callback(client.close)
        for stream in loop.streams:
            producer = Producer(client, place.topics("shop").stream(stream.name), schema=StreamSchema(stream))
            event = {"id": "1", "at": START, "shop": "s", "price": 1.0, "late": True}
            producer.send(json.dumps({field.name: event[field.name] for field in stream.fields}).encode(), key="s")
            producer.flush()
            producer.close()
        store = connect(redis_url)
        stack.callback(store.close)
        DefinitionStore(store, "shop").write(loop)
        StatusBoard(store, "shop").write(
            ServiceStatus(service="feature", instance="feature-0", state="ready", newest=START + HOUR)
        )
        QualityBoard(store, "shop").write(QualityReport("m", loop.model("m").hash, "binary", 1_234, None, {}, []))
        stack.callback(DirectoryLock(site.data / "up.lock").release)
        up = UpFile(
            loop="shop",
            loop_file=str(site.data / "loop.py"),
            pid=1,
            pulsar=place.url,
            pulsar_admin=place.admin_url,
            namespace=place.namespace,
            redis=redis_url,
            data=str(site.data),
            addresses={},
            pids={},
            partitioned=place.admin_url is not None,
        )
        (site.data / "up.json").write_bytes(UP_FILE.encode(up))
        yield site


def test_a_new_view_is_filled_from_kept_events(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.file(MORE)
    assert run(["check", str(file), "--against", str(site.data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"loop shop against {site.data}"
    assert "  view    week   filled   from the kept events of sold" in lines
    assert "  model   m      kept     1,234 examples" in lines
    assert lines[-1] == "all state can be carried over; nothing has been changed"


def test_state_that_is_lost_has_an_exit_code(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.file(("price: float", "price: float\n    size: int"))
    assert run(["check", str(file), "--against", str(site.data), "--json"]) == 6
    facts = json.loads(capsys.readouterr().out)
    assert facts["carried"] is False
    [problem] = [change for change in facts["changes"] if change["problem"]]
    assert (problem["kind"], problem["name"]) == ("stream", "asked")
    assert problem["outcome"] == "refused"
    assert "field 'size' is new and required" in problem["problem"]


def test_the_store_alone_knows_the_definition(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(site.file(MORE)), "--against", site.redis_url]) == 0
    out = capsys.readouterr().out
    assert "filled" in out
    assert "not looked at: kept events, examples and schemas: name the broker by --pulsar" in out
