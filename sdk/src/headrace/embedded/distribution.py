"""The official Apache Pulsar from Maven Central: downloaded and unpacked once, then used by all loops here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from headrace.embedded.locks import DirectoryLock
from headrace.errors import Unavailable

#: A release of the long-term line.
VERSION = "4.0.8"

_ARTIFACT = f"org.apache.pulsar:pulsar-server-distribution:{VERSION}:tar.gz:bin"
_NAME = f"apache-pulsar-{VERSION}"
_OLDEST_JAVA = 17
# Another process may be downloading it, over a slow line.
_PATIENCE_S = 1_800.0


def missing() -> str:
    """Return what this machine lacks to run the distribution; empty if nothing."""
    lacks = [f"a JRE of {_OLDEST_JAVA} or newer (`java`)"] if _java() < _OLDEST_JAVA else []
    if not _home().exists() and shutil.which("mvn") is None:
        lacks.append("Apache Maven (`mvn`)")
    return " and ".join(lacks)


def home(say: Callable[[str], None]) -> Path:
    """Return the folder of the unpacked distribution; the first call downloads it (245 MB).

    Parameters
    ----------
    say
        Called with a message before each long step.

    Raises
    ------
    Unavailable
        Java or Maven is missing, or Maven cannot download it.
    """
    if lacking := missing():
        raise Unavailable(f"the official Apache Pulsar needs {lacking}")
    folder = _home()
    if not folder.exists():
        lock = DirectoryLock(folder.with_name(f"{_NAME}.lock"), patience_s=_PATIENCE_S)
        try:
            if not folder.exists():
                _unpack(folder, say)
        finally:
            lock.release()
    return folder


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "headrace" / _NAME


def _unpack(folder: Path, say: Callable[[str], None]) -> None:
    # Unpack beside its final place, so that the folder there is always complete.
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=folder.parent) as draft:
        say(f"getting Apache Pulsar {VERSION} from Maven Central, once (245 MB)")
        archive = _get(Path(draft))
        say(f"unpacking it into {folder}")
        with tarfile.open(archive) as tar:
            tar.extractall(draft, filter="data")
        (Path(draft) / _NAME).rename(folder)


def _get(folder: Path) -> Path:
    command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}"]
    # Run in the draft's folder, so that Maven does not pick up a surrounding project.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    archive = next(folder.glob("*.tar.gz"), None)
    if done.returncode or archive is None:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["it says nothing"]
        raise Unavailable(f"Maven cannot get {_ARTIFACT}: {errors[0]}")
    return archive


def _java() -> int:
    """Return the version of the JRE that Pulsar would run on; 0 without a JRE."""
    program = shutil.which("java", path=f"{os.environ['JAVA_HOME']}/bin" if os.environ.get("JAVA_HOME") else None)
    if program is None:
        return 0
    output = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
    # openjdk version "17.0.15" 2025-04-15
    first = output.partition('"')[2].partition('"')[0].split(".")[0].split("-")[0]
    return int(first) if first.isdigit() else 0
