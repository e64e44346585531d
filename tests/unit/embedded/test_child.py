"""Child processes, ports and locks."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.embedded.child import Child, Exited
from headrace.embedded.locks import DirectoryLock, is_held
from headrace.embedded.ports import PortBook, free_port
from headrace.errors import Unavailable
from tests.deadline import scaled


class Children:
    """Children that run a few lines of Python, and end with the test."""

    def __init__(self, folder: Path, ending: ExitStack) -> None:
        self._folder = folder
        self._ending = ending

    def start(self, code: str, **options: object) -> Child:
        child = Child("the child", [sys.executable, "-c", code], log=self._folder / "log", **options)  # type: ignore[arg-type]
        self._ending.callback(child.kill)
        return child


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with ExitStack() as ending:
        yield Children(tmp_path, ending)


def test_it_keeps_its_pid_and_has_a_session_of_its_own(children: Children) -> None:
    child = children.start("import os; print(os.getpid(), os.getsid(0))")
    assert child.join(scaled(10))
    assert child.output().split() == [str(child.pid)] * 2


def test_its_environment_is_ours_and_more(children: Children) -> None:
    child = children.start("import os; print(os.environ['WORD'], os.environ['PATH'])", environment={"WORD": "x"})
    assert child.join(scaled(10))
    assert child.output() == f"x {os.environ['PATH']}\n"


def test_it_has_written_words_however_much_came_after_them(children: Children) -> None:
    child = children.start("print('it is re', end='')")
    assert child.join(scaled(10))
    assert not child.wrote("it is ready")
    with child.log.open("a") as log:
        log.write("ady\n" + 100_000 * "x")
    assert child.wrote("it is ready")
    assert child.wrote("it is ready")
    assert not child.wrote("it is not")


def test_a_wait_for_its_end_does_not_look_again_and_again(children: Children) -> None:
    child = children.start("import time; time.sleep(1_000)")
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    assert not child.join(0.6)
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 5
    threading.Timer(0.1, child.terminate).start()
    assert child.join(scaled(10))
    assert child.exit_code == -signal.SIGTERM
    assert child.join(0.1)  # it has ended already


def test_all_who_wait_for_its_end_see_it(children: Children) -> None:
    for _ in range(5):
        child = children.start("input()")
        with ThreadPoolExecutor(8) as waiting:
            ends = [waiting.submit(child.join, scaled(10)) for _ in range(8)]
            assert all(end.result() for end in ends)


def test_it_does_not_inherit_that_python_ignores_sigpipe(tmp_path: Path) -> None:
    child = Child("grep", ["/bin/grep", "SigIgn", "/proc/self/status"], log=tmp_path / "grep")
    assert child.join(scaled(10))
    ignored = int(child.output().split()[1], 16)
    assert not ignored & 1 << (signal.SIGPIPE - 1)


def test_until_waits_for_the_condition(children: Children) -> None:
    child = children.start("print('ready', flush=True); import time; time.sleep(600)")
    child.until(lambda: "ready" in child.output(), scaled(10))
    assert child.alive


def test_until_tells_the_last_words_of_one_that_ended(children: Children) -> None:
    child = children.start("import sys; print('reading'); sys.exit('no such file')")
    with pytest.raises(Exited, match="the child exited with 1 before it was ready: no such file"):
        child.until(lambda: False, scaled(10))


def test_until_has_a_deadline(children: Children) -> None:
    child = children.start("import time; time.sleep(600)")
    with pytest.raises(Unavailable, match=r"the child was not ready after 0 s; its log is .*log"):
        child.until(lambda: False, 0)


def test_only_its_own_words_count(children: Children) -> None:
    assert children.start("print('first')").join(scaled(10))
    second = children.start("print('second')")
    assert second.join(scaled(10))
    assert second.output() == "second\n"


def test_stop_asks_first(children: Children) -> None:
    code = "import signal; print('up', flush=True); signal.sigwait({signal.SIGTERM}); print('bye')"
    child = children.start(f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}}); {code}")
    child.until(lambda: "up" in child.output(), scaled(10))
    assert child.stop(10)
    assert (child.exit_code, child.last_line()) == (0, "bye")


def test_stop_kills_one_that_does_not_listen(children: Children) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    child = children.start(code)
    child.until(lambda: "up" in child.output(), scaled(10))
    assert not child.stop(0.05)
    assert child.exit_code == -signal.SIGKILL


def test_a_program_that_is_not_there_ends_at_once(tmp_path: Path) -> None:
    child = Child("nobody", ["/nowhere/nobody"], log=tmp_path / "log")
    with pytest.raises(Exited, match="nobody exited with 1"):
        child.until(lambda: False, scaled(10))


def test_a_lock_is_held_by_one_and_by_the_children_that_keep_it(
    tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.embedded.locks.PATIENCE_S", 0.05)
    path = tmp_path / "lock"
    assert not is_held(path)
    lock = DirectoryLock(path)
    assert is_held(path)
    with pytest.raises(Unavailable, match="in use"):
        DirectoryLock(path)
    keeping = children.start("import time; time.sleep(600)", keep=lock.fd)
    other = children.start("import time; time.sleep(600)")
    lock.release()
    assert is_held(path)
    keeping.kill()
    assert other.alive
    assert not is_held(path)
    DirectoryLock(path).release()


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path / "lock")
    release = threading.Timer(0.1, first.release)
    release.start()
    DirectoryLock(tmp_path / "lock").release()
    release.join()


def test_ports_are_remembered_while_they_are_free(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports")
    assert book.last("store") is None
    port = free_port()
    book.note("store", port)
    assert PortBook(tmp_path / "ports").last("store") == port
    with socket.create_server(("127.0.0.1", port)):
        assert book.last("store") is None
    assert book.last("store") == port
    (tmp_path / "ports" / "store").write_text("nonsense")
    assert book.last("store") is None
