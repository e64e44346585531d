"""Select the running loop that a command applies to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from headrace.cli.running_target import find
from headrace.embedded.locks import DirectoryLock
from headrace.embedded.server_failures import write_failures
from headrace.embedded.up_file import UP_FILE, UpFile
from headrace.errors import NewerFormat, Unavailable


class Home:
    """A folder with running loops, as far as their files show."""

    def __init__(self, folder: Path, holding: ExitStack) -> None:
        self.folder = folder
        self._holding = holding

    def leave(self, loop: str) -> Path:
        """Write the file of a loop that ended without removing it."""
        data = self.folder / ".headrace" / loop
        data.mkdir(parents=True)
        up = UpFile(
            loop=loop,
            loop_file=str(self.folder / f"{loop}.py"),
            pid=1,
            pulsar=f"pulsar://{loop}",
            redis=f"redis://{loop}",
            data=str(data),
            addresses={},
            pids={},
        )
        (data / "up.json").write_bytes(UP_FILE.encode(up))
        return data

    def run(self, loop: str) -> Path:
        """Write the files of a running loop."""
        data = self.leave(loop)
        self._holding.callback(DirectoryLock(data / "up.lock").release)
        return data


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as holding:
        yield Home(tmp_path, holding)


def test_the_only_one_needs_no_name(home: Home) -> None:
    data = home.run("flights")
    home.leave("crashed")
    target = find()
    assert (target.loop, target.redis, target.pulsar) == ("flights", "redis://flights", "pulsar://flights")
    assert target.data == data


def test_one_of_several_needs_one(home: Home) -> None:
    home.run("flights")
    home.run("payments")
    with pytest.raises(click.UsageError, match="several loops run: flights, payments"):
        find()
    assert find("payments").loop == "payments"
    assert find("payments.py").loop == "payments"
    assert find(data=home.folder / ".headrace" / "flights").loop == "flights"


def test_one_that_does_not_run_is_said(home: Home) -> None:
    home.leave("crashed")
    with pytest.raises(Unavailable, match=re.escape(f"no loop runs under {home.folder}/.headrace; `headrace up")):
        find()
    with pytest.raises(Unavailable, match=re.escape(f"no loop runs on {home.folder}; ")):
        find(data=home.folder)
    with pytest.raises(Unavailable, match="loop 'crashed' does not run under /"):
        find("crashed")
    home.run("flights")
    with pytest.raises(Unavailable, match="loop 'crashed' does not run under /"):
        find("crashed")


def test_a_loop_of_a_newer_version_is_named_with_what_reads_it(home: Home) -> None:
    file = home.run("flights") / "up.json"
    file.write_bytes(file.read_bytes().replace(b'"format":1,"version":"0.1"', b'"format":2,"version":"9.9"'))
    with pytest.raises(NewerFormat, match=r"9\.9"):
        find("flights")


def test_one_that_is_still_starting_does_not_run_yet(home: Home) -> None:
    data = home.run("flights")
    (data / "up.json").unlink()
    for loop in (None, "flights"):
        with pytest.raises(Unavailable, match=re.escape(f"the loop in {data} is starting: wait until")):
            find(loop)


def test_a_failed_server_is_among_its_problems(home: Home) -> None:
    data = home.run("flights")
    assert not find("flights").problems()
    write_failures(data, {"broker": "ended 5 times: remove the cause"})
    assert find("flights").problems() == ["the broker has failed: it ended 5 times: remove the cause"]
    with pytest.raises(Unavailable, match="the broker has failed: it ended 5 times"):
        find("flights").statuses()


def test_the_error_names_the_options_of_the_command(home: Home) -> None:
    with pytest.raises(Unavailable, match="--data or --redis finds one elsewhere"):
        find("flights")
    with pytest.raises(Unavailable, match=r"starts one, --against DIRECTORY finds one elsewhere$"):
        find("flights", elsewhere="--against DIRECTORY finds one elsewhere")
