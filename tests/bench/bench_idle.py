"""Measure what a loop costs while no event arrives: the CPU time of each of its processes.

    python -m tests.bench.bench_idle --quiet 60 --seconds 60

Runs the README's loop as `headrace up` does (embedded broker and store included), plays its four payments, waits, and
then measures. The figures are CPU time from `/proc`, so other work on this machine does not affect them. Prints one
JSON object; values are percent of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: The limit for all processes together.
MOST_PERCENT = 2.0

_TICKS = os.sysconf("SC_CLK_TCK")
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def write_loop(directory: Path) -> list[str]:
    """Write the README's loop and its files; return the arguments of the matching `headrace play`."""
    blocks = _FENCED.findall((ROOT / "README.md").read_text())
    loop = next(code for kind, code in blocks if kind == "python" and "class Payment" in code)
    payments, outcomes = [code for kind, code in blocks if kind == "csv"][:2]
    for name, text in (("payments.py", loop), ("payments.csv", payments), ("outcomes.csv", outcomes)):
        (directory / name).write_text(text)
    return ["payment=payments.csv", "outcome=outcomes.csv"]


@contextmanager
def running(directory: Path, *options: str) -> Iterator[dict[str, int]]:
    """Run the loop; yield its process ids by name."""
    headrace = str(Path(sys.executable).with_name("headrace"))
    with (directory / "up.log").open("wb") as errors:
        up = subprocess.Popen(
            [headrace, "up", "payments.py", "--json", *options],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        assert up.stdout is not None
        places = json.loads(up.stdout.readline())
        subprocess.run([headrace, "play", *write_loop(directory)], cwd=directory, check=True, stdout=subprocess.DEVNULL)
        yield {"up": up.pid, **places["pids"]}
    finally:
        up.terminate()
        up.wait()


def cpu_by_thread(pid: int) -> dict[str, int]:
    """Return the CPU time (clock ticks) of each thread of a process, by thread id and name."""
    ticks = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        before, _, rest = (task / "stat").read_text().rpartition(")")
        fields = rest.split()
        ticks[f"{task.name} {before.partition('(')[2]}"] = int(fields[11]) + int(fields[12])
    return ticks


def measure(processes: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Return the percent of a core used by each process and thread, over `seconds`."""
    before = {name: cpu_by_thread(pid) for name, pid in processes.items()}
    threading.Event().wait(seconds)
    percents: dict[str, dict[str, float]] = defaultdict(dict)
    for name, pid in processes.items():
        for thread, ticks in cpu_by_thread(pid).items():
            percents[name][thread] = 100.0 * (ticks - before[name].get(thread, 0)) / _TICKS / seconds
    return percents


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds without an event before the measurement")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds that it takes")
    parser.add_argument("--threads", action="store_true", help="the busiest threads of each process too")
    parser.add_argument("--pulsar", help="a broker to use instead, as of `headrace up`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_loop(directory)
        with running(directory, *(["--pulsar", arguments.pulsar] if arguments.pulsar else [])) as processes:
            threading.Event().wait(arguments.quiet)
            percents = measure(processes, arguments.seconds)
    by_process = {name: round(sum(threads.values()), 2) for name, threads in percents.items()}
    report = {"percent_of_a_core": by_process, "all": round(sum(by_process.values()), 2), "most": MOST_PERCENT}
    if arguments.threads:
        report["threads"] = {
            name: {
                thread: round(percent, 2)
                for thread, percent in sorted(threads.items(), key=lambda item: -item[1])
                if percent
            }
            for name, threads in percents.items()
        }
    print(json.dumps(report, indent=1))
    return int(report["all"] > MOST_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
