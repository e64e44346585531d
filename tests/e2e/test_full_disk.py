"""A full disk is reported by every command that is asked, and the loop resumes by itself once there is room."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.pages import blocks, python_blocks
from tests.contract.repository import ROOT
from tests.deadline import until
from tests.terminal import Terminal

README = ROOT / "README.md"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 48 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Use up all free space."""
    file = disk / "large"
    with open(file, "wb", buffering=0) as handle:
        while True:
            try:
                handle.write(bytes(65_536))
            except OSError:
                return file


def test_a_full_disk_is_said_and_passes(small_disk: Path, tmp_path: Path) -> None:
    data = str(small_disk / "data")
    (tmp_path / "payments.py").write_text(python_blocks(README)[0].text)
    payments = next(block.text for block in blocks(README) if block.language == "csv")
    (tmp_path / "payments.csv").write_text(payments)

    def says_full(text: str) -> bool:
        # Ignore how the terminal breaks its lines.
        return f"thediskof{data}isfull" in "".join(text.split())

    def headrace(*words: str) -> Terminal:
        return Terminal([*words, "--data", data], tmp_path)

    def status() -> str:
        with headrace("status") as shown:
            shown.end()
            return shown.text

    large = fill(small_disk)
    with headrace("up", "payments.py") as up:
        assert up.end(seconds=60) == 3
        assert f"thediskof{small_disk}" in "".join(up.text.split())
    os.unlink(large)
    with headrace("up", "payments.py") as up:
        up.until(lambda text: "Ctrl-C stops it." in text, 180)
        large = fill(small_disk)
        with headrace("send", "payment", "payments.csv") as send:
            send.until(says_full)
            up.until(says_full)
            assert says_full(status())
            os.unlink(large)
            assert send.end(seconds=60) == 0
            assert "accepted, 0 rejected" in send.text
        until(status, lambda text: "is full" not in text and "accepted 4" in text, 60)
        assert up.end(signal.SIGINT) == 0
        assert "Traceback" not in up.written
