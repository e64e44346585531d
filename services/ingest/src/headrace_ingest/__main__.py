"""Run the ingest service: ``python -m headrace_ingest``."""

from __future__ import annotations

from headrace.runtime import service
from headrace_ingest.app import PROGRAM


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    service.run(PROGRAM)


if __name__ == "__main__":
    main()
