"""Environments of the peers: one virtual environment each under ``.peers/``, made from its lock file on first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PEERS = Path(__file__).parent
ROOT = PEERS.parents[2]
ENVIRONMENTS = ROOT / ".peers"

#: Each is a folder of this package with a lock file and a server.
NAMES = ("grpc", "fastapi", "feast", "mlserver", "bentoml")


def python_of(name: str, home: Path = ENVIRONMENTS) -> Path:
    """Return the interpreter of a peer's environment, which is made if it is missing or its lock file has changed."""
    lock = PEERS / name / "requirements.lock"
    folder = home / name
    python = folder / "bin" / "python"
    if not is_current(folder, lock):
        print(f"peer {name}: installing {lock.relative_to(ROOT)} into {folder}", file=sys.stderr, flush=True)
        _install(folder, lock)
    return python


def is_current(folder: Path, lock: Path) -> bool:
    """Tell whether an environment was completely installed from this lock file."""
    stamp = folder / "installed"
    return stamp.exists() and stamp.read_text() == fingerprint(lock)


def _install(folder: Path, lock: Path) -> None:
    """Install every requirement that the lock file names, checked against its hash; uv does it faster than pip."""
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    venv.create(folder, with_pip=uv is None)
    python = str(folder / "bin" / "python")
    program = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    subprocess.run([*program, "--quiet", "--require-hashes", "--no-deps", "-r", lock], env=environment, check=True)
    (folder / "installed").write_text(fingerprint(lock))


def fingerprint(lock: Path) -> str:
    """Return what an environment's file ``installed`` holds if it was made from this lock file."""
    return f"{sys.version_info.major}.{sys.version_info.minor} {hashlib.sha256(lock.read_bytes()).hexdigest()}"
