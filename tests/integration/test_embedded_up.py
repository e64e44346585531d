"""`headrace up` and the commands that find what it runs: real processes and servers, services of a few lines."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pulsar
import pytest

from headrace import embedded
from headrace.cli.program import run
from headrace.errors import DefinitionErrors, Unavailable
from headrace.v1.dead_letter_pb2 import DeadLetter
from tests.deadline import scaled, until
from tests.support.up_process import _LOOP, stand_ins, start_up, until_told


@dataclass
class Up:
    """A `headrace up` in its own process."""

    process: subprocess.Popen[str]
    told: dict[str, object]
    folder: Path

    def ports(self) -> list[int]:
        addresses = self.told["addresses"]
        assert isinstance(addresses, dict)
        urls = [str(self.told["pulsar"]), str(self.told["redis"]).removesuffix("/0"), *addresses.values()]
        return [int(url.rpartition(":")[2]) for url in urls]


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    with pytest.MonkeyPatch.context() as monkeypatch:
        stand_ins(folder, monkeypatch)
        with start_up(folder, "--json") as process:
            try:
                yield Up(process, until_told(process), folder)
            finally:
                process.terminate()
                process.communicate(timeout=scaled(30))


@pytest.fixture
def here(up: Up, monkeypatch: pytest.MonkeyPatch) -> Up:
    """Return the running loop, seen from the folder that it was started in."""
    monkeypatch.chdir(up.folder)
    monkeypatch.delenv("HEADRACE_DATA", raising=False)
    return up


def out(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Return the output of a command: its standard output, or if it fails the one line on standard error."""
    assert run(arguments) == code
    written = capsys.readouterr()
    if code:
        assert written.out == ""
        assert written.err.count("\n") == 1
        return written.err
    return written.out


def test_up_tells_its_addresses_in_one_line(up: Up) -> None:
    assert up.told["loop"] == "payments"
    assert up.told["data"] == str(up.folder / ".headrace" / "payments")
    assert isinstance(up.told["addresses"], dict)
    assert list(up.told["addresses"]) == ["feature", "ingest", "learner", "scorer"]
    assert isinstance(up.told["pids"], dict)
    assert set(up.told["pids"]) == {"broker", "store", "ingest-0", "feature-0", "learner-0", "scorer-0"}
    assert all(answers(port) for port in up.ports())


def test_its_example_can_be_copied(here: Up) -> None:
    example = str(here.told["example"])
    assert example.startswith("headrace score fraudulent --loop payments --event '{")
    done = subprocess.run(
        example.replace("headrace ", f"{sys.executable} -m headrace.cli ", 1),
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("score    0.01\n")


def test_status_shows_lag_rates_versions_and_dead_letters(here: Up, capsys: pytest.CaptureFixture[str]) -> None:
    lines = out(capsys, "status").splitlines()
    assert [line.split()[1] for line in lines] == ["feature-0:", "ingest-0:", "learner-0:", "scorer-0:"]
    wanted = "feature-0: ready  lag 0.2 s of event time  events 7 (1,234/s)  version fraudulent 1,200  dead letters 3"
    assert lines[0].partition("  ")[2] == wanted
    for loop in ("payments", "loop.py", str(here.folder / "loop.py")):
        assert len(out(capsys, "status", loop).splitlines()) == 4
    status = json.loads(out(capsys, "status", "--json", "--redis", str(here.told["redis"])))
    assert status["loop"] == "payments"
    assert [service["service"] for service in status["services"]] == ["feature", "ingest", "learner", "scorer"]
    assert status["services"][0]["counters"] == {"events": 7, "dead_letters": 3}


def test_status_of_another_loop_or_directory_says_that_none_runs(
    here: Up, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "loop 'other' does not run under " in out(capsys, "status", "other", code=3)
    assert f"no loop runs on {tmp_path};" in out(capsys, "status", "--data", str(tmp_path), code=3)


def test_score_prints_the_answer_and_why(here: Up, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("score", "fraudulent", "--event", '{"card": "c1", "amount": 25}')
    lines = ["score    0.25", "version  fraudulent after 1,200 examples (d1)", "degraded not_logged"]
    assert out(capsys, *command).splitlines() == lines
    assert out(capsys, *command, "--explain").splitlines() == [
        *lines,
        "vector",
        "  spent.mean.1h      20.5          1.5 s old",
        "  spent.payments.1h  missing",
    ]
    assert json.loads(out(capsys, *command, "--explain", "--json")) == {
        "score": 0.25,
        "version": {"model": "fraudulent", "definition": "d1", "examples": 1200},
        "degradations": ["not_logged"],
        "vector": [
            {"name": "spent.mean.1h", "value": 20.5, "age_s": 1.5},
            {"name": "spent.payments.1h", "value": None, "age_s": None},
        ],
    }


def test_a_refused_score_is_one_line_and_a_code(here: Up, capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, "score", "fraudulent", "--event", "{}", code=4) == (
        "headrace: field 'card' is missing, expected a string\n"
    )
    assert "has no version yet" in out(capsys, "score", "young", "--event", "{}", code=5)


def test_models_are_listed_and_described(here: Up, capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, "models").splitlines() == [
        "fraudulent  binary  1,200 examples  (d1)",
        "young  binary  no version yet  ()",
    ]
    assert [model["examples"] for model in json.loads(out(capsys, "models", "--json"))] == [1200, None]
    description = out(capsys, "models", "fraudulent")
    assert "  LogisticRegression()\n" in description
    assert "  roc_auc  0.75\n  served  900\n  served_roc_auc  0.7\n" in description
    assert "expected one of fraudulent, young" in out(capsys, "models", "nobody", code=4)


def test_dead_letters_are_listed_and_shown(here: Up, capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, "dead-letters", "list") == ""
    client = pulsar.Client(str(here.told["pulsar"]), logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    producer = client.create_producer("persistent://public/default/payments-dead-letters")
    for stream, event in (("paid", b'{"card": 1}'), ("disputed", b"{"), ("paid", b"\xff")):
        letter = DeadLetter(
            stream=stream,
            field="card",
            value="1",
            expected="a string",
            event=event,
            service="ingest",
            refused_at=10**15,
        )
        producer.send(letter.SerializeToString())
    client.close()
    assert "stream is 'pad', expected one of" in out(capsys, "dead-letters", "list", "--stream", "pad", code=4)
    assert len(out(capsys, "dead-letters", "list").splitlines()) == 3
    line = out(capsys, "dead-letters", "list", "--stream", "disputed").strip()
    position, _, rest = line.partition("  ")
    assert rest == "2001-09-09T01:46:40Z  ingest  disputed: field card is 1, expected a string"
    newest = json.loads(out(capsys, "dead-letters", "list", "--limit", "1", "--json"))
    assert newest["event"] == {"base64": "/w=="}
    shown = json.loads(out(capsys, "dead-letters", "show", position, "--json"))
    assert (shown["stream"], shown["event"]) == ("disputed", "{")
    assert out(capsys, "dead-letters", "show", newest["position"]).endswith('event      {"base64": "/w=="}\n')
    assert "position is '9:9:9', expected one of" in out(capsys, "dead-letters", "show", "9:9:9", code=4)


def test_a_second_up_on_the_same_directory_is_refused(here: Up, capsys: pytest.CaptureFixture[str]) -> None:
    data = here.told["data"]
    refused = out(capsys, "up", "loop.py", code=3)
    assert refused == f"headrace: {data} is in use by another process; end it, or take another directory\n"


def test_up_stops_cleanly_and_goes_on_at_the_same_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(tmp_path, monkeypatch)
    addresses = []
    for number in (signal.SIGINT, signal.SIGHUP):
        with start_up(tmp_path, "--json") as process:
            up = Up(process, until_told(process), tmp_path)
            process.send_signal(number)
            rest, errors = process.communicate(timeout=scaled(30))
        assert process.returncode == 0
        lines = [line for line in errors.splitlines() if not line.startswith("headrace: waiting for")]
        assert (rest, lines) == ("", ["headrace: loop stopped; `headrace up loop.py` goes on from where it is"])
        assert not any(answers(port) for port in up.ports())
        assert not (Path(str(up.told["data"])) / "up.json").exists()
        addresses.append(up.told["addresses"])
    assert addresses[0] == addresses[1]


def test_up_prints_lines_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(tmp_path, monkeypatch)
    with start_up(tmp_path, "--data", "state") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1] not in ("", "Ctrl-C stops it.\n"):
            lines.append(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=scaled(30))
    assert lines[0] == "loop payments is up\n"
    assert any(line.startswith("  broker   pulsar://127.0.0.1:") for line in lines)
    assert any(line.endswith(" --data state\n") for line in lines if "headrace score fraudulent" in line)


def test_a_killed_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(tmp_path, monkeypatch)
    with start_up(tmp_path, "--json") as process:
        up = Up(process, until_told(process), tmp_path)
        process.kill()
        process.communicate(timeout=scaled(30))
    until(lambda: not any(answers(port) for port in up.ports()))
    monkeypatch.chdir(tmp_path)
    assert run(["status"]) == 3


def test_run_is_a_library_too_and_takes_servers_of_yours(
    here: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = stand_ins(tmp_path, monkeypatch)
    loop.write_text(_LOOP.replace('Loop("payments")', 'Loop("other")'))
    with (
        embedded.Servers(tmp_path / "servers") as servers,
        embedded.run(
            loop, data=tmp_path / "data", pulsar=servers.pulsar_url, redis=servers.redis_url, workers={"scorer": 2}
        ) as running,
    ):
        assert running.definition.name == "other"
        assert (running.pulsar_url, running.redis_url) == servers.urls
        assert [status.instance for status in running.status()] == [
            "feature-0",
            "ingest-0",
            "learner-0",
            "scorer-0",
            "scorer-1",
        ]
        assert set(running.addresses) == {"feature", "ingest", "learner", "scorer"}
        assert set(running.pids) == {"feature-0", "ingest-0", "learner-0", "scorer-0", "scorer-1"}
        assert not (tmp_path / "data" / "broker").exists()


def test_nothing_is_started_for_a_wrong_loop_file(tmp_path: Path) -> None:
    loop = tmp_path / "loop.py"
    loop.write_text("from headrace import Streams\n")
    with pytest.raises(DefinitionErrors), embedded.run(loop, data=tmp_path / "data"):
        pass
    assert not (tmp_path / "data").exists()


def test_a_service_that_does_not_come_up_takes_the_rest_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = stand_ins(tmp_path, monkeypatch)
    (tmp_path / "services" / "headrace_learner.py").write_text("import sys; sys.exit('no checkpoint directory')")
    with (
        pytest.raises(Unavailable, match="learner-0 does not come up: no checkpoint directory"),
        embedded.run(loop, data=tmp_path / "data", report=lambda text: None),
    ):
        pass
    with embedded.Servers(tmp_path / "data"):
        pass  # its directory is free again
