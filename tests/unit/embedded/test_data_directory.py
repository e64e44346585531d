"""The directory of a loop's state belongs to its owner alone; an error says when it is gone or full."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from headrace.embedded import data_directory
from headrace.embedded.data_directory import UP_LOCK, full_disk_named, private_directory, problems_of, write_private
from headrace.embedded.locks import DirectoryLock
from headrace.embedded.ports import PortBook
from headrace.errors import Unavailable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _open_to_all() -> None:
    os.umask(0o022)


def test_what_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / ".headrace" / "payments"
    DirectoryLock(data / UP_LOCK).release()
    PortBook(data / "ports").note("broker", 6650)
    write_private(data / "up.json", b"{}")
    paths = [data.parent, *data.parent.rglob("*")]
    assert {path.name: oct(mode(path)) for path in paths} == {
        ".headrace": "0o700",
        "payments": "0o700",
        "up.lock": "0o600",
        "ports": "0o700",
        "broker": "0o600",
        "up.json": "0o600",
    }


def test_what_was_open_to_others_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "state"
    data.mkdir()
    (data / "up.json").write_text("redis://me:secret@store")
    (data / UP_LOCK).touch()
    private_directory(data)
    write_private(data / "up.json", b"{}")
    assert (mode(data), mode(data / "up.json")) == (0o700, 0o600)


def test_a_folder_that_holds_more_than_state_is_left_as_it_is(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "loop.py").touch()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    for folder, was in ((project, 0o755), (temporary, 0o1777)):
        private_directory(folder)
        assert mode(folder) == was


def test_a_lock_knows_when_its_file_is_removed_or_replaced(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "data" / UP_LOCK)
    assert lock.is_there
    (tmp_path / "data" / UP_LOCK).unlink()
    assert not lock.is_there
    (tmp_path / "data" / UP_LOCK).touch()
    assert not lock.is_there
    lock.release()


def test_a_full_disk_is_a_problem_with_a_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems_of(tmp_path) == []
    monkeypatch.setattr(data_directory, "_LEAST_ROOM", 2**62)
    (problem,) = problems_of(tmp_path)
    assert f"the disk of {tmp_path} is full" in problem
    assert "goes on by itself" in problem
    (problem,) = problems_of(tmp_path / "gone")
    assert "cannot be read: No such file or directory" in problem


def test_a_start_without_room_names_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"), full_disk_named(tmp_path / "data"):
        raise full
    monkeypatch.setattr(data_directory, "_LEAST_ROOM", 2**62)
    with pytest.raises(Unavailable, match=f"the disk of {tmp_path} is full"), full_disk_named(tmp_path / "data"):
        raise full
    with pytest.raises(PermissionError), full_disk_named(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
