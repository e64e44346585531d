"""The page on sending events is accurate: its commands and programs run against a service, and print what it says."""

from __future__ import annotations

import csv
import io
import re
import shlex
from pathlib import Path

import pytest

from headrace import embedded
from headrace.cli.program import run
from headrace.compiler import compile as compile_loop
from headrace.definition import StreamDefinition
from headrace.engine.events import StreamCodec
from tests.brokers import Place
from tests.integration.ingesting import deciding, ingesting

PAGE = (Path(__file__).parents[2] / "docs" / "send-events.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def documented_stream() -> StreamDefinition:
    namespace: dict[str, object] = {"__name__": "loop"}
    exec(blocks("python")[0], namespace)
    return compile_loop(namespace, "flights").streams[0]


def test_the_page_does_what_it_says(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_NAMESPACE", place.namespace)
    (csv_text,) = blocks("csv")
    Path("departed.csv").write_text(csv_text)
    stream = documented_stream()
    with (
        embedded.store(tmp_path / "store") as store,
        ingesting(tmp_path, place, store.url, "flights", streams=(stream,)) as ingest,
        deciding(ingest),
    ):
        options = ["--redis", store.url, "--loop", "flights"]
        sends = [line for block in blocks("sh") for line in block.splitlines()]
        assert [shlex.split(line)[:2] for line in sends] == [
            ["headrace", "send"],
            ["headrace", "play"],
            ["headrace", "play"],
            ["headrace", "dead-letters"],
            ["headrace", "dead-letters"],
        ]
        for line in sends[:3]:
            # One row of the page's file is not a valid event.
            assert run([*shlex.split(line)[1:], *options, "--definition", str(ingest.loop_json)]) == 4
            out, err = capsys.readouterr()
            if " send " in line:
                assert err + out == blocks("text")[0]
        # The last lines list the dead letters, and send them again unchanged.
        assert run([*shlex.split(sends[3])[1:], *options, "--pulsar", place.url]) == 0
        assert capsys.readouterr().out.count('field delay_min is "late", expected a finite number') == 3
        assert run([*shlex.split(sends[4])[1:], *options, "--pulsar", place.url]) == 4
        assert "3 of 3 were refused again" in capsys.readouterr().err
        for block in blocks("python")[1:]:
            here = {
                "127.0.0.1:8000": ingest.address,
                "pulsar://127.0.0.1:6650": place.url,
                "public/default": place.namespace,
            }
            for there, actual in here.items():
                block = block.replace(there, actual)
            exec(block, {})
        assert capsys.readouterr().out == '29 accepted, 0 rejected\ndelay_min "late" a finite number\n'
        payloads = [payload for payload in ingest.written(ingest.topics.stream("departed"), 37).payloads if payload]
    events, _, invalid = StreamCodec(stream).columns(payloads)
    assert invalid == []
    assert set(events.ids) == {"UA1", "UA3", "UA70", *(f"UA{n}" for n in (4, *range(31, 60)))}


def test_the_file_has_the_fields_of_the_stream() -> None:
    (csv_text,) = blocks("csv")
    header = next(csv.reader(io.StringIO(csv_text)))
    assert header == [field.name for field in documented_stream().fields]
