"""Run the learner service: ``python -m headrace_learner``."""

from __future__ import annotations

from headrace.runtime import service
from headrace_learner.app import PROGRAM


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    service.run(PROGRAM)


if __name__ == "__main__":
    main()
