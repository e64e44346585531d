"""Run all benchmarks one after another, each in its own process: ``make bench``.

Each prints one JSON object with its figures beside their references, measured in the same run.
"""

from __future__ import annotations

import subprocess
import sys

BENCHES = ("bench_feature", "bench_learner", "bench_compiled", "bench_scorer", "bench_year")


def main() -> int:
    """Run the benchmarks; return the number that failed."""
    failed = 0
    for name in BENCHES:
        print(f"{name}:", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
