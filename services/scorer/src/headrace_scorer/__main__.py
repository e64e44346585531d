"""Run the scorer service: ``python -m headrace_scorer``."""

from __future__ import annotations

from headrace.runtime import service
from headrace_scorer.app import PROGRAM


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    service.run(PROGRAM)


if __name__ == "__main__":
    main()
