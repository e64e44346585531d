"""Run the cases of targets, each in a child process, and report the findings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[2]

#: Otherwise Arrow's own memory pool escapes the limit.
_ENVIRONMENT = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}

#: Seconds that a child may take beyond its own: starting, compiling the kernel, one case.
_GRACE_S = 180.0

#: Characters of a failure that are kept.
_SHOWN = 2_000


class Finding(NamedTuple):
    """An input that a decoder neither accepted nor refused, and how the case ended."""

    target: str
    data: bytes
    reason: str


class Outcome(NamedTuple):
    """The outcome of a child; the number of cases is unknown if the child ended early."""

    cases: int
    finding: Finding | None = None


def fuzz(target: str, seed: int, cases: int = 2**31, seconds: float = 86_400.0) -> Outcome:
    """Run cases of a target until there is a finding, `cases` are done or `seconds` are over."""
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder:
        at = Path(folder, "case")
        command = [sys.executable, "-m", "tests.fuzz.child", target, str(seed), str(cases), str(seconds), str(at)]
        try:
            ended = subprocess.run(
                command,
                cwd=_ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds + _GRACE_S,
                env=_ENVIRONMENT,
            )
        except subprocess.TimeoutExpired:
            return Outcome(0, Finding(target, _case(at), "it went on for ever, and took no signal"))
        if not ended.returncode:
            return Outcome(json.loads(ended.stdout.splitlines()[-1])["cases"])
        code = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exit {ended.returncode}"
        return Outcome(0, Finding(target, _case(at), f"{code}\n{ended.stderr[-_SHOWN:]}"))


def keep(finding: Finding, folder: Path) -> Path:
    """Write the input of a finding to a file; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding.target}-{sha256(finding.data).hexdigest()[:12]}"
    path.write_bytes(finding.data)
    return path


def _case(at: Path) -> bytes:
    return at.read_bytes() if at.exists() else b""
